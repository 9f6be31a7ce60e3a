"""The folder of one comparison: claimed by one configuration, by one process at a time."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuse.config import Experiment, dump_experiment
from medfuse.errors import OutputError
from medfuse.storage import write_json, write_text
from medfuse.workflows.output_folder import FolderKind, hold_folder, remove_items

FITS = "fits"
_STATE, _CONFIG, _VERSION = "compare.json", "config.yaml", 1
_RESULT = "comparison.json"
_OWN = (
    _STATE,
    _CONFIG,
    FITS,
    "scratch",
    "plots",
    "tables",
    _RESULT,
    "comparison.html",
    "predictions.csv",
)
_KIND = FolderKind("comparison", _STATE, _OWN, (FITS,))
logger = logging.getLogger("medfuse")


@dataclass(frozen=True)
class CompareFolder:
    """Where a comparison keeps its results.

    Attributes:
        path: the folder.
        asked: its configuration.
        resumes: what lies there is of the same configuration, and may be gone on with.
    """

    path: Path
    asked: Experiment
    resumes: bool

    def begin(self) -> None:
        """Take the folder: only now is an earlier comparison of something else removed."""
        if self.resumes:
            return
        remove_items(self.path, _OWN)
        mark = {"kind": "comparison", "version": _VERSION}
        write_json(self.path / _STATE, {"medfuse": mark, "configuration": self.asked.digest()})
        write_text(self.path / _CONFIG, dump_experiment(self.asked))

    def finish(self, comparison: Mapping[str, Any]) -> None:
        """Write the result, and say what an earlier one held that this one was not asked for."""
        file = self.path / _RESULT
        try:
            earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            gone = _not_asked_for(earlier, comparison)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            gone = []  # a damaged file holds no result
        write_json(file, comparison)
        if gone:
            logger.info("replaced the earlier results here: now %s", ", ".join(gone))


@contextmanager
def claim_compare_folder(
    path: Path | str, experiment: Experiment, *, fresh: bool = False
) -> Iterator[CompareFolder]:
    """Hold ``path`` for this configuration; what a broken-off comparison has done stays.

    Nothing is written or removed before `CompareFolder.begin`.

    Args:
        path: made if absent.
        experiment: its digest decides whose folder it is.
        fresh: let an earlier comparison that is there be replaced.

    Raises:
        OutputError: a comparison by another configuration is there, the folder holds something
            else, it cannot be written, or another process is using it.
    """
    with hold_folder(Path(path), _KIND, lambda at: _claimed(at, experiment, fresh)) as claimed:
        yield claimed


def _claimed(folder: Path, experiment: Experiment, fresh: bool) -> CompareFolder:
    state = None if fresh else _read(folder)
    resumes = state == experiment.digest()
    if state is not None and not resumes and _KIND.has_progress(folder):
        raise OutputError(
            f"{folder}: holds a comparison by another configuration. "
            "Choose another --out, or replace it with --fresh."
        )
    return CompareFolder(folder, experiment, resumes)


def _not_asked_for(earlier: Mapping[str, Any], comparison: Mapping[str, Any]) -> list[str]:
    if not earlier:
        return []
    names = {candidate["name"] for candidate in comparison["candidates"]}
    gone = [one["name"] for one in earlier["candidates"] if one["name"] not in names]
    said = [f"without {', '.join(gone)}"] if gone else []
    if earlier["folds"] != comparison["folds"]:
        said.append(f"{comparison['folds']} folds in place of {earlier['folds']}")
    parts = (("curve", "learning curve"), ("target", "target"))
    return said + [f"without a {name}" for key, name in parts if _lost(key, earlier, comparison)]


def _lost(key: str, earlier: Mapping[str, Any], comparison: Mapping[str, Any]) -> bool:
    return bool(earlier.get(key)) and not comparison.get(key)


def _read(folder: Path) -> str | None:
    """Return the digest of the configuration whose folder it is."""
    file = folder / _STATE
    if not file.is_file():
        return None
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        version, digest = state["medfuse"]["version"], str(state["configuration"])
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{file}: damaged. Use --fresh or another --out.") from error
    if version != _VERSION:
        raise OutputError(
            f"{file}: version {version}, expected {_VERSION}. "
            "It was written by another release of medfuse; use --fresh or another --out."
        )
    return digest
