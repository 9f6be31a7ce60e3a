"""The folder of one run: claimed by one configuration, by one process at a time.

``run.json`` holds the digests of the configuration as it was asked for and as it was resolved;
either is the same run. ``config.yaml`` is the former until the latter is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfuse.config import Experiment, dump_experiment
from medfuse.errors import OutputError
from medfuse.storage import write_json, write_text
from medfuse.workflows.output_folder import FolderKind, hold_folder, remove_items

_STATE = "run.json"
_STATE_VERSION = 1
_CONFIG = "config.yaml"
_PROGRESS = ("members", "checkpoints", "metrics.json")
_OWN = (
    _STATE,
    _CONFIG,
    *_PROGRESS,
    "bundle",
    "cohort.csv",
    "distances.safetensors",
    "out_of_fold",
    "plots",
    "predictions.csv",
    "report.html",
    "single",
    "slice_weights.csv",
    "tensorboard",
)
_KIND = FolderKind("run", _STATE, _OWN, _PROGRESS)


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its product.

    Attributes:
        path: the folder.
        asked: the configuration as it was asked for.
        resumes: what lies there is of the same configuration, and may be gone on with.
        finished: a run of the same configuration ended here before.
    """

    path: Path
    asked: Experiment
    resumes: bool
    finished: bool

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints."""
        return self.path / "checkpoints"

    @property
    def plots(self) -> Path:
        """Folder of the figures."""
        return self.path / "plots"

    def begin(self) -> None:
        """Take the folder: only now is an earlier run of something else removed."""
        if self.resumes:
            return
        remove_items(self.path, _OWN)
        _write_state(self.path, {"configuration": self.asked.digest()})
        write_text(self.path / _CONFIG, dump_experiment(self.asked))

    def write_resolved(self, experiment: Experiment) -> None:
        """Put the configuration as it is carried out in the place of the one that was asked for."""
        write_text(self.path / _CONFIG, dump_experiment(experiment))
        _change_state(self.path, resolved=experiment.digest())

    def mark_finished(self) -> None:
        """Record that everything the run promises is here."""
        _change_state(self.path, finished=True)


@contextmanager
def claim_run_folder(
    path: Path | str, experiment: Experiment, *, fresh: bool = False
) -> Iterator[RunFolder]:
    """Hold ``path`` for this experiment; a broken-off run of the same one is resumed.

    Nothing is written or removed before `RunFolder.begin`.

    Args:
        path: the run folder; made if absent.
        experiment: its digest decides whose folder it is.
        fresh: let an earlier run (of medfuse only) that is there be replaced.

    Raises:
        OutputError: another configuration's run is there, the folder holds something else, it
            cannot be written, or another process is using it.
    """
    with hold_folder(Path(path), _KIND, lambda at: _claimed(at, experiment, fresh)) as claimed:
        yield claimed


def is_finished(path: Path | str, experiment: Experiment) -> bool:
    """Return whether a run of this experiment ended in ``path``, without claiming it."""
    try:
        state = _read_state(Path(path))
    except OutputError:
        return False
    return state is not None and bool(state["finished"]) and _is_of(state, experiment)


def _claimed(folder: Path, experiment: Experiment, fresh: bool) -> RunFolder:
    state = None if fresh else _read_state(folder)
    resumes = state is not None and _is_of(state, experiment)
    if state is not None and not resumes and _KIND.has_progress(folder):
        raise OutputError(
            f"{folder}: holds a run of another configuration. "
            "Choose another --out, or replace it with --fresh."
        )
    return RunFolder(folder, experiment, resumes, bool(resumes and state and state["finished"]))


def _is_of(state: Mapping[str, object], experiment: Experiment) -> bool:
    return experiment.digest() in (state["configuration"], state["resolved"])


def _read_state(folder: Path) -> dict[str, object] | None:
    file = folder / _STATE
    if not file.is_file():
        return None
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        version = state["medfuse"]["version"]
        found = {key: state[key] for key in ("configuration", "finished")}
        found["resolved"] = state.get("resolved")
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{file}: damaged. Use --fresh or another --out.") from error
    if version != _STATE_VERSION:
        raise OutputError(
            f"{file}: version {version}, expected {_STATE_VERSION}. "
            "It was written by another release of medfuse; use --fresh or another --out."
        )
    return found


def _change_state(folder: Path, **changes: object) -> None:
    _write_state(folder, {**(_read_state(folder) or {}), **changes})


def _write_state(folder: Path, facts: Mapping[str, object]) -> None:
    mark = {"kind": "run", "version": _STATE_VERSION}
    write_json(folder / _STATE, {"medfuse": mark, "finished": False, **facts})
