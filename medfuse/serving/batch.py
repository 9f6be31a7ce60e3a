"""Many cases into files: rows are kept as they come, and what was killed goes on."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from medfuse.errors import OutputError
from medfuse.processes import Shard
from medfuse.progress import progress_bar
from medfuse.serving.cases import CaseInput, ListedCase
from medfuse.serving.part_rows import PartRows, Place, rows_at
from medfuse.serving.prediction import Answer, Prediction
from medfuse.storage import atomic_path, locked, write_json

PART = ".part"
_STATE, _VERSION = "state.json", 1

_log = logging.getLogger(__name__)


class Answers(Protocol):
    """The part of a `medfuse.serving.predict.Predictor` that is needed."""

    def answers(
        self, cases: Iterable[CaseInput], batch_size: int | None = None
    ) -> Iterator[Answer]:
        """Yield the answer to each case, in order."""


Format = Callable[[Iterable[Prediction]], Iterable[str]]


@dataclass(frozen=True)
class Target:
    """Where the predictions of one command go.

    Attributes:
        files: what to write into each, from all predictions in order. The rows that are there so
            far lie in a folder beside the first, ``NAME.part``.
        identity: digest of the bundle and of what was asked for; only rows of the same are kept.
        then: gets all predictions once the files are there, before the rows are removed.
    """

    files: Mapping[Path, Format]
    identity: str
    then: Callable[[Iterable[Prediction]], None] | None = None

    @property
    def part(self) -> Path:
        """Folder of the rows that are there so far."""
        first = next(iter(self.files))
        return first.with_name(first.name + PART)


@dataclass(frozen=True)
class BatchOptions:
    """How to go through the cases; decides no result.

    Attributes:
        batch_size: cases that go through the network at once; as in the bundle if ``None``.
        shard: the share of this process.
        fresh: begin anew where rows of another command lie.
        progress: tell on stderr how far it is, see `medfuse.progress`.
    """

    batch_size: int | None = None
    shard: Shard = field(default_factory=Shard)
    fresh: bool = False
    progress: bool = True


def predicted(
    predictor: Answers, cases: Sequence[ListedCase], options: BatchOptions
) -> Iterator[Prediction]:
    """Yield the prediction of each case by its name in the list; what has none is told."""
    answers = predictor.answers((case.given for case in cases), options.batch_size)
    bar = progress_bar(
        zip(cases, answers, strict=True),
        "predict",
        len(cases),
        shown=options.progress and options.shard.first,
        unit="case",
        leave=True,
    )
    for case, answer in bar:
        found = replace(answer.prediction, case=case.name)
        if found.status != "ok":
            _log.warning("%s %s: %s", found.status, found.case, found.reason)
        yield found


def predict_to_files(
    predictor: Answers, cases: Sequence[ListedCase], target: Target, options: BatchOptions
) -> int:
    """Write the predictions of all cases, one row each in their order; return how many are refused.

    Rows are kept as they come. The same command goes on after the last of them; the files get
    their names once every case has its row. Of several processes each has its share of the cases,
    and the first one puts the rows together.

    Raises:
        BundleError: the network itself failed; what was done before is kept.
        OutputError: another command has begun there, another process is at it, or nothing can be
            written.
    """
    shard, rows = options.shard, PartRows(target.part, options.shard.rank)
    with _held(target, options):
        shard.total(0)  # none writes before the first has made the folder
        refused = _compute(predictor, shard.of(cases), rows, options)
        refused = shard.total(refused)
        if shard.first:
            places = rows.places()
            missing = [case for case in cases if case.name not in places]
            if missing:  # the processes have not listed the same cases
                refused += _compute(predictor, missing, rows, options)
            places = rows.places()
            _write(target, [places[case.name] for case in cases])
    if shard.first:
        shutil.rmtree(target.part, ignore_errors=True)
    return refused


def _compute(
    predictor: Answers, cases: Sequence[ListedCase], rows: PartRows, options: BatchOptions
) -> int:
    """Add the rows of the cases that have none yet; return how many of all are refused."""
    places = rows.places()
    known = [case.name for case in cases if case.name in places]
    left = [case for case in cases if case.name not in places]
    refused = sum(places[name].status == "refused" for name in known)
    if known:
        _log.info("going on: %d of %d cases have their row", len(known), len(cases))
    try:
        with rows.writer() as writer:
            for found in predicted(predictor, left, options):
                writer.add(found)
                refused += found.status == "refused"
    except OSError as error:
        raise OutputError(
            f"{rows.folder}: cannot be written ({error.strerror or error}). Free some space, and "
            "run the same command again to go on."
        ) from error
    return refused


def _write(target: Target, places: Sequence[Place]) -> None:
    for file, text_of in target.files.items():
        with (
            atomic_path(file) as temporary,
            # names of files need not be UTF-8
            temporary.open("w", encoding="utf-8", errors="backslashreplace") as handle,
        ):
            handle.writelines(text_of(rows_at(places)))
    if target.then:
        target.then(rows_at(places))
    counts = Counter(place.status for place in places)
    told = ", ".join(f"{counts[status]} {status}" for status in sorted(counts, key=_in_order))
    _log.info("written %s: %s", next(iter(target.files)), told or "no cases")


def _in_order(status: str) -> tuple[bool, str]:
    return status != "ok", status


@contextmanager
def _held(target: Target, options: BatchOptions) -> Iterator[None]:
    """Hold the folder of the rows for this process; one that got no row is removed."""
    folder, rank = target.part, options.shard.rank
    _require_own(folder)
    with locked(folder / f".lock-{rank}", "predictions"):
        if options.shard.first:
            _claim(folder, target.identity, options.fresh)
        try:
            yield
        except BaseException:
            if options.shard.count == 1 and not PartRows(folder).places():
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _require_own(folder: Path) -> None:
    """Refuse a folder of that name that somebody else has made."""
    if folder.exists() and not (folder / _STATE).is_file() and any(_strangers(folder)):
        raise OutputError(
            f"{folder}: in the way, expected no such file or folder. Rename it, or choose another "
            "--out."
        )


def _strangers(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        yield folder
        return
    yield from (item for item in folder.iterdir() if not item.name.startswith("."))


def _claim(folder: Path, identity: str, fresh: bool) -> None:
    found = None if fresh else _identity_in(folder / _STATE)
    if found is not None and found != identity and PartRows(folder).places():
        raise OutputError(
            f"{folder}: holds rows of another bundle or of other inputs, not finished. Run that "
            "command again to finish it, choose another --out, or begin anew with --fresh."
        )
    if found != identity:
        for file in folder.glob("rows-*.jsonl"):
            file.unlink()
        mark = {"kind": "predictions", "version": _VERSION}
        write_json(folder / _STATE, {"medfuse": mark, "identity": identity})


def _identity_in(file: Path) -> str | None:
    """Return whose rows lie there; ``""`` where that cannot be read."""
    if not file.is_file():
        return None
    try:
        state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return str(state["identity"]) if state["medfuse"]["version"] == _VERSION else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
