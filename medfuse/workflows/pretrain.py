"""Pretrain: unlabelled images -> a folder that is a source at once."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from medfuse.device import find_device
from medfuse.errors import OutputError
from medfuse.pretraining.batches import Drawing, ViewBatches
from medfuse.pretraining.health import features_of, neighbor_accuracy, sample_of, spread
from medfuse.pretraining.network import Trainee, WholeImages, build_learner, build_trainee
from medfuse.pretraining.session import Place, Pretraining
from medfuse.pretraining.settings import PretrainingSettings
from medfuse.registry import load_registry, parse_source
from medfuse.storage import digest_of, locked, sweep_partial, write_json
from medfuse.workflows.pretrain_card import PretrainedSource, write_source
from medfuse.workflows.pretrain_images import PoolOfSets, collect_images
from medfuse.workflows.run_folder import refuse_foreign_content

_STATE = "pretraining.json"
_CHECKPOINTS = "checkpoints"
_MEASURED = 2000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainingOutcome:
    """A finished pretraining.

    Attributes:
        folder: can be named as a source.
        card: what ``card.json`` says.
    """

    folder: Path
    card: dict[str, Any]


def pretrain(  # noqa: PLR0913 - one for each option of the command
    paths: Sequence[str],
    settings: PretrainingSettings,
    out: Path | str,
    *,
    exclude: Sequence[str] = (),
    fresh: bool = False,
    download: bool = False,
    progress: bool = True,
) -> PretrainingOutcome:
    """Return the source that a backbone became by learning from images without labels.

    A pretraining that was broken off goes on after its last checkpoint, and ends with the same
    weights as if it had not been (same machine, same number of threads).

    Args:
        paths: folders of images, or cohorts whose labels are ignored.
        settings: the backbone, and how it learns.
        out: folder for the source.
        exclude: images and cohorts that must not be learned from, nor their near duplicates.
        fresh: replace an earlier pretraining in ``out``.
        download: allow weights to begin with to be fetched.
        progress: show bars on stderr where that is a terminal.

    Raises:
        SourceError: the backbone cannot be built.
        CohortError: no images to learn from.
        TrainingError: the loss is not finite.
        OutputError: ``out`` holds something else, or cannot be written.
    """
    folder = Path(out)
    asked = {"paths": list(paths), "exclude": list(exclude), **settings.model_dump(mode="json")}
    with _claimed(folder, digest_of(asked), fresh) as finished:
        if finished:
            card = _finished_card(folder)
            _log.info("%s: this pretraining is finished", folder)
            return PretrainingOutcome(folder, card)
        device = find_device(settings.device)
        registry = load_registry()
        _, spec = registry.backbone(parse_source(settings.backbone))
        trainee = build_trainee(settings, registry, spec.spatial_dims, download)
        found = collect_images(paths, exclude, settings, spec.spatial_dims, progress)
        for line in _described(found):
            _log.info("%s", line)
        before = _measure(trainee, found)
        history = _learn(
            trainee,
            found,
            settings,
            Place(device, folder / _CHECKPOINTS, _identity(asked, trainee, found), progress),
        )
        after = _measure(trainee, found)
        card = write_source(
            PretrainedSource(folder, trainee, found, settings, history, before, after)
        )
        write_json(folder / _STATE, _state(digest_of(asked), finished=True))
        shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)
    return PretrainingOutcome(folder, card)


def _learn(
    trainee: Trainee, found: PoolOfSets, settings: PretrainingSettings, place: Place
) -> list[dict[str, float]]:
    drawing = Drawing(settings.views, trainee.view_size, seed=settings.seed)
    batches = ViewBatches(found.pool, settings.batch_size, drawing)
    rows = sample_of(found.pool)
    whole = WholeImages(trainee.source, trainee.use_size)

    def look(_learner: nn.Module) -> dict[str, float]:
        return spread(features_of(whole, found.pool, rows))

    learner = build_learner(trainee, settings)
    return Pretraining(learner, batches, settings, place, look).run()


def _measure(trainee: Trainee, found: PoolOfSets) -> dict[str, Any]:
    """Return the spread of features, and how well neighbors tell the classes of each set apart."""
    whole = WholeImages(trainee.source, trainee.use_size)
    rows = sample_of(found.pool)
    neighbors = {}
    for one in found.sets:
        own = [
            row
            for row, file in enumerate(found.pool.files)
            if file.group == one.name and found.labels[row] >= 0
        ]
        own = [own[i] for i in np.linspace(0, len(own) - 1, min(len(own), _MEASURED)).astype(int)]
        labels = np.array([found.labels[row] for row in own], dtype=np.int64)
        if len(set(labels.tolist())) > 1:
            values = features_of(whole, found.pool, own)
            neighbors[one.name] = round(neighbor_accuracy(values, labels), 4)
    return {**spread(features_of(whole, found.pool, rows)), "neighbor_accuracy": neighbors}


def _described(found: PoolOfSets) -> Iterator[str]:
    for one in found.counts():
        without = {**one["left_out"], **one["refused"]}
        told = ", ".join(f"{code} {count}" for code, count in without.items())
        yield f"{one['name']}: {one['images']} images{f' (without {told})' if told else ''}"
    pool = found.pool
    repeated = f", {pool.repeated} repeated pictures left out" if pool.repeated else ""
    kept = "" if pool.in_memory == len(pool) else f", {pool.in_memory} of them in memory"
    yield f"learning from {len(pool)} images{repeated}{kept}"


def _identity(asked: dict[str, Any], trainee: Trainee, found: PoolOfSets) -> str:
    """Return the digest of all that decides the weights."""
    begun = trainee.built.identity["weights"]
    # Not where it is computed: what was begun on a GPU may be ended without one.
    settings = {k: v for k, v in asked.items() if k not in ("device", "paths", "exclude")}
    return digest_of({"settings": settings, "begun": begun, "images": found.pool.digests})


@contextmanager
def _claimed(folder: Path, asked: str, fresh: bool) -> Iterator[bool]:
    """Hold a folder for one pretraining; yield whether it ended there before.

    What fails before there is anything to resume leaves the folder as it was.

    Raises:
        OutputError: it holds something else, or another process uses it.
    """
    refuse_foreign_content(folder, _STATE, "pretraining")
    existed = folder.exists()
    with locked(folder / ".lock", "folder of a pretraining"):
        sweep_partial(folder)
        if fresh:
            _clear(folder)
        state = _read_state(folder)
        other = state is not None and state["configuration"] != asked
        if state and other and (state["finished"] or (folder / _CHECKPOINTS).exists()):
            raise OutputError(
                f"{folder}: holds a pretraining of other images or settings. "
                "Choose another --out, or replace it with --fresh."
            )
        if state is None or other:
            write_json(folder / _STATE, _state(asked, finished=False))
        try:
            yield bool(state and not other and state["finished"])
        except BaseException:
            _leave(folder, existed)
            raise


def _leave(folder: Path, existed: bool) -> None:
    """Remove what a start wrote, unless training began; the folder too if it was made for it."""
    state = _read_state(folder)
    if (folder / _CHECKPOINTS).exists() or (state and state["finished"]):
        return
    _clear(folder)
    if not existed:
        (folder / ".lock").unlink(missing_ok=True)
        with suppress(OSError):  # somebody put something there meanwhile
            folder.rmdir()


def _clear(folder: Path) -> None:
    """Remove what a pretraining writes, and nothing else."""
    shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)
    for name in (_STATE, *PretrainedSource.FILES):
        (folder / name).unlink(missing_ok=True)


def _state(asked: str, *, finished: bool) -> dict[str, Any]:
    mark = {"kind": "pretraining", "version": 1}
    return {"medfuse": mark, "configuration": asked, "finished": finished}


def _read_state(folder: Path) -> dict[str, Any] | None:
    file = folder / _STATE
    if not file.is_file():
        return None
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        return {key: state[key] for key in ("configuration", "finished")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{file}: damaged. Use --fresh or another --out.") from error


def _finished_card(folder: Path) -> dict[str, Any]:
    """Return the card of a finished pretraining.

    Raises:
        OutputError: a file of its folder was removed, or the card was changed.
    """
    gone = [name for name in PretrainedSource.FILES if not (folder / name).is_file()]
    if gone:
        raise OutputError(
            f"{folder}: holds a finished pretraining without its {', '.join(gone)}. "
            "Put back what was removed, or pretrain again with --fresh."
        )
    file = folder / "card.json"
    try:
        card: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        dict(card["features"]["after"]["neighbor_accuracy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{file}: damaged. Put back the one that was written, or pretrain again with --fresh."
        ) from error
    return card
