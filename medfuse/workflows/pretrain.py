"""Pretrain: images -> a folder that is a source at once."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from medfuse.device import find_device
from medfuse.errors import OutputError
from medfuse.pretraining.batches import Drawing, ViewBatches
from medfuse.pretraining.health import features_of, sample_of, spread
from medfuse.pretraining.methods import build_learner, settled, views_of_one_image
from medfuse.pretraining.network import Trainee, build_trainee
from medfuse.pretraining.session import Place, Pretraining
from medfuse.pretraining.settings import PretrainingSettings
from medfuse.registry import load_registry, parse_source
from medfuse.storage import digest_of, write_json
from medfuse.workflows.output_folder import FolderKind, hold_folder, remove_items
from medfuse.workflows.pretrain_card import PretrainedSource, Reached, write_source
from medfuse.workflows.pretrain_images import PoolOfSets, collect_images
from medfuse.workflows.pretrain_measures import (
    measured_features,
    validated,
    validation_accuracy,
    whole_images,
)

_STATE = "pretraining.json"
_CHECKPOINTS = "checkpoints"
_OWN = (_CHECKPOINTS, _STATE, *PretrainedSource.FILES)
_KIND = FolderKind("pretraining", _STATE, _OWN, (_CHECKPOINTS, *PretrainedSource.FILES))

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
    """Return the source that a backbone became by learning from images.

    A pretraining that was broken off goes on after its last checkpoint, and ends with the same
    weights as if it had not been (same machine, same number of threads).

    Args:
        paths: folders of images, or cohorts; their labels count for supervised learning alone.
        settings: the backbone, and how it learns.
        out: folder for the source.
        exclude: images and cohorts that must not be learned from, nor their near duplicates.
        fresh: replace an earlier pretraining in ``out``.
        download: allow weights to begin with to be fetched.
        progress: tell on stderr how far it is, see `medfuse.progress`.

    Raises:
        SourceError: the backbone cannot be built.
        ConfigError: it cannot learn by this method.
        CohortError: no images to learn from.
        TrainingError: the loss is not finite.
        OutputError: ``out`` holds something else, or cannot be written.
    """
    folder = Path(out)
    asked = {"paths": list(paths), "exclude": list(exclude), **settings.model_dump(mode="json")}
    identity = digest_of(asked)
    with hold_folder(folder, _KIND, lambda at: _claimed(at, identity, fresh)) as claim:
        if claim.finished:
            card = _finished_card(folder)
            _log.info("%s: this pretraining is finished", folder)
            return PretrainingOutcome(folder, card)
        device = find_device(settings.device)
        registry = load_registry()
        _, spec = registry.backbone(parse_source(settings.backbone))
        trainee = build_trainee(settings, registry, spec.spatial_dims, download)
        settings = settled(settings, trainee)
        _log.info("method: %s", settings.method)
        found = collect_images(paths, exclude, settings, spec.spatial_dims, progress)
        for line in _described(found):
            _log.info("%s", line)
        claim.begin()
        place = Place(device, folder / _CHECKPOINTS, _identity(settings, trainee, found), progress)
        before = measured_features(trainee, found)
        learner, history = _learn(trainee, found, settings, place)
        after = measured_features(trainee, found)
        reached = Reached(history, before, after, validated(learner, trainee, found))
        card = write_source(PretrainedSource(folder, trainee, found, settings, reached))
        write_json(folder / _STATE, _state(identity, finished=True))
        shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)
    return PretrainingOutcome(folder, card)


def _learn(
    trainee: Trainee, found: PoolOfSets, settings: PretrainingSettings, place: Place
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Return the learner after its training, and a record of each epoch."""
    views = views_of_one_image(settings.method)
    drawing = Drawing(settings.views, trainee.view_size, views, settings.seed)
    labels = found.labels_of_all() if settings.method == "supervised" else ()
    batches = ViewBatches(found.pool, settings.batch_size, drawing, labels)
    rows, whole = sample_of(found.pool), whole_images(trainee)

    def look(learner: nn.Module) -> dict[str, float]:
        features = spread(features_of(whole, found.pool, rows))
        return {**features, **validation_accuracy(learner, trainee, found)}

    learner = build_learner(trainee, settings, [len(one.classes) for one in found.sets])
    return learner, Pretraining(learner, batches, settings, place, look).run()


def _described(found: PoolOfSets) -> Iterator[str]:
    for one in found.counts():
        without = {**one["left_out"], **one["refused"]}
        told = ", ".join(f"{code} {count}" for code, count in without.items())
        yield f"{one['name']}: {one['images']} images{f' (without {told})' if told else ''}"
    pool = found.pool
    if len(found.validation):
        yield f"measuring on {len(found.validation)} held-out images"
    repeated = f", {pool.repeated} repeated pictures left out" if pool.repeated else ""
    kept = "" if pool.in_memory == len(pool) else f", {pool.in_memory} of them in memory"
    yield f"learning from {len(pool)} images{repeated}{kept}"


def _identity(settings: PretrainingSettings, trainee: Trainee, found: PoolOfSets) -> str:
    """Return the digest of all that decides the weights."""
    supervised = settings.method == "supervised"
    return digest_of(
        {
            # Not where it is computed: what was begun on a GPU may be ended without one.
            "settings": settings.model_dump(mode="json", exclude={"device"}),
            "begun": trainee.built.identity["weights"],
            "images": found.pool.digests,
            "labels": found.labels_of_all() if supervised else [],
        }
    )


@dataclass(frozen=True)
class _Claim:
    """A folder held for one pretraining.

    Attributes:
        folder: where the source will be.
        asked: digest of what is asked for.
        finished: it ended there before.
        resumes: what lies there is of the same pretraining, and may be gone on with.
    """

    folder: Path
    asked: str
    finished: bool
    resumes: bool

    def begin(self) -> None:
        """Take the folder: only now is an earlier pretraining of something else removed."""
        if not self.resumes:
            remove_items(self.folder, _OWN)
            write_json(self.folder / _STATE, _state(self.asked, finished=False))


def _claimed(folder: Path, asked: str, fresh: bool) -> _Claim:
    """Return the claim on a folder; nothing is written or removed before `_Claim.begin`."""
    state = None if fresh else _read_state(folder)
    resumes = state is not None and state["configuration"] == asked
    if state is not None and not resumes and _KIND.has_progress(folder):
        raise OutputError(
            f"{folder}: holds a pretraining of other images or settings. "
            "Choose another --out, or replace it with --fresh."
        )
    return _Claim(folder, asked, bool(resumes and state and state["finished"]), resumes)


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
        card.setdefault("validation", {})  # cards of old have none
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{file}: damaged. Put back the one that was written, or pretrain again with --fresh."
        ) from error
    return card
