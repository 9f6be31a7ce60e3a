"""Predictions on disk while there are still cases to come: whole rows only, whatever was killed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from medfuse.serving.prediction import Prediction

_PATTERN = "rows-*.jsonl"


class Place(NamedTuple):
    """Where the row of a case begins, and its status."""

    file: Path
    offset: int
    status: str


@dataclass(frozen=True)
class PartRows:
    """The rows of one process among those of all that write into a folder, a JSON line each.

    Attributes:
        folder: of the rows of all processes.
        rank: of this process; nobody else writes its file.
    """

    folder: Path
    rank: int = 0

    @contextmanager
    def writer(self) -> Iterator[RowWriter]:
        """Yield what adds rows; the line that a killed process left unfinished is removed first.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        file = self.folder / f"rows-{self.rank}.jsonl"
        with file.open("ab") as handle:
            handle.truncate(_end_of_rows(file))
            yield RowWriter(handle)

    def places(self) -> dict[str, Place]:
        """Return where the row of each case lies, in the files of all processes."""
        return {
            name: place
            for file in sorted(self.folder.glob(_PATTERN))
            for name, place in _places(file)
        }


@dataclass(frozen=True)
class RowWriter:
    """Adds rows to a file; one that was added outlives the process."""

    handle: BinaryIO

    def add(self, prediction: Prediction) -> None:
        """Add the row of a case."""
        self.handle.write(json.dumps(prediction.to_dict()).encode() + b"\n")
        self.handle.flush()


def rows_at(places: Iterable[Place]) -> Iterator[Prediction]:
    """Yield the predictions at some places, in that order; one at a time is in memory."""
    handles: dict[Path, BinaryIO] = {}
    try:
        for place in places:
            if place.file not in handles:
                handles[place.file] = place.file.open("rb")
            handle = handles[place.file]
            handle.seek(place.offset)
            yield Prediction.of(json.loads(handle.readline()))
    finally:
        for handle in handles.values():
            handle.close()


def _places(file: Path) -> Iterator[tuple[str, Place]]:
    """Yield the case and place of each whole row; a damaged one is as good as none."""
    with file.open("rb") as handle:
        offset = 0
        for line in handle:
            row = _row(line)
            if row is not None:
                yield row["case"], Place(file, offset, row["status"])
            offset += len(line)


def _row(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
        Prediction.of(found)
    except (ValueError, TypeError):
        return None
    return found if found["status"] in ("ok", "abstained", "refused") else None


def _end_of_rows(file: Path) -> int:
    """Return the length of a file up to its last line break."""
    with file.open("rb") as handle:
        end = 0
        for line in handle:
            end += len(line) if line.endswith(b"\n") else 0
    return end
