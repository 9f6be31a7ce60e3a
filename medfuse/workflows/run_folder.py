"""The folder of one run: claimed by one configuration, by one process at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfuse.config import Experiment, dump_experiment
from medfuse.errors import OutputError
from medfuse.storage import locked, sweep_partial, write_json, write_text

_STATE = "run.json"
_STATE_VERSION = 1
_CONFIG = "config.yaml"


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its product.

    Attributes:
        path: the folder.
        finished: a run of the same configuration ended here before.
    """

    path: Path
    finished: bool

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints."""
        return self.path / "checkpoints"

    @property
    def plots(self) -> Path:
        """Folder of the figures."""
        return self.path / "plots"

    def mark_finished(self, digest: str) -> None:
        """Record that everything the run promises is here."""
        _write_state(self.path, digest, finished=True)


@contextmanager
def claim_run_folder(
    path: Path | str, experiment: Experiment, *, fresh: bool = False
) -> Iterator[RunFolder]:
    """Hold ``path`` for this experiment; a broken-off run of the same one is resumed.

    Args:
        path: the run folder; made if absent.
        experiment: its digest decides whose folder it is.
        fresh: delete an earlier run (of medfuse only) that is there.

    Raises:
        OutputError: another configuration's run is there, the folder holds something else, it
            cannot be written, or another process is using it.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: a file, expected a folder. Choose another --out.")
    _refuse_foreign(folder)
    with locked(folder / ".lock", "run folder"):
        sweep_partial(folder)
        if fresh:
            _clear(folder)
        yield _claimed(folder, experiment)


def _claimed(folder: Path, experiment: Experiment) -> RunFolder:
    digest = experiment.digest()
    state = _read_state(folder)
    if state is not None and state["configuration"] != digest:
        raise OutputError(
            f"{folder}: holds a run of another configuration. "
            "Choose another --out, or replace it with --fresh."
        )
    if state is None:
        write_text(folder / _CONFIG, dump_experiment(experiment))
        _write_state(folder, digest, finished=False)
    return RunFolder(path=folder, finished=bool(state and state["finished"]))


def _refuse_foreign(folder: Path) -> None:
    if not folder.is_dir() or (folder / _STATE).is_file():
        return
    strangers = [i.name for i in folder.iterdir() if i.name[0] != "." and i.name != _CONFIG]
    if strangers:
        raise OutputError(
            f"{folder}: not empty and not a medfuse run (found {sorted(strangers)[0]!r}). "
            "Choose another --out."
        )


def _clear(folder: Path) -> None:
    for item in folder.iterdir():
        if item.name == ".lock":
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _read_state(folder: Path) -> dict[str, object] | None:
    file = folder / _STATE
    if not file.is_file():
        return None
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        if state["version"] != _STATE_VERSION:
            raise OutputError(
                f"{file}: version {state['version']}, expected {_STATE_VERSION}. "
                "It was written by another release of medfuse; use --fresh or another --out."
            )
        return {"configuration": state["configuration"], "finished": state["finished"]}
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{file}: damaged. Use --fresh or another --out.") from error


def _write_state(folder: Path, digest: str, *, finished: bool) -> None:
    state = {"version": _STATE_VERSION, "configuration": digest, "finished": finished}
    write_json(folder / _STATE, state)
