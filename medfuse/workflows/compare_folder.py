"""The folder of one comparison: claimed by one configuration, by one process at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medfuse.config import Experiment, dump_experiment
from medfuse.errors import OutputError
from medfuse.storage import locked, sweep_partial, write_json, write_text
from medfuse.workflows.output_folder import (
    LOCK,
    refuse_foreign_content,
    remove_if_empty,
    remove_items,
)

FITS = "fits"
_STATE, _CONFIG, _VERSION = "compare.json", "config.yaml", 1
_OWN = (
    _STATE,
    _CONFIG,
    FITS,
    "scratch",
    "plots",
    "tables",
    "comparison.json",
    "comparison.html",
    "predictions.csv",
)


@contextmanager
def claim_compare_folder(
    path: Path | str, experiment: Experiment, *, fresh: bool = False
) -> Iterator[Path]:
    """Hold ``path`` for this configuration; what a broken-off comparison has done stays.

    Args:
        path: made if absent.
        experiment: its digest decides whose folder it is.
        fresh: delete an earlier comparison that is there.

    Raises:
        OutputError: a comparison by another configuration is there, the folder holds something
            else, it cannot be written, or another process is using it.
    """
    folder = Path(path)
    refuse_foreign_content(folder, _STATE, "comparison")
    existed = folder.exists()
    with locked(folder / LOCK, "comparison"):
        sweep_partial(folder)
        if fresh:
            remove_items(folder, _OWN)
        _claim(folder, experiment)
        try:
            yield folder
        except BaseException:
            _leave(folder, existed)
            raise


def _claim(folder: Path, experiment: Experiment) -> None:
    state = _read(folder)
    if state is not None and state != experiment.digest():
        if (folder / FITS).exists():
            raise OutputError(
                f"{folder}: holds a comparison by another configuration. "
                "Choose another --out, or replace it with --fresh."
            )
        state = None
    if state is None:
        mark = {"kind": "comparison", "version": _VERSION}
        write_json(folder / _STATE, {"medfuse": mark, "configuration": experiment.digest()})
        write_text(folder / _CONFIG, dump_experiment(experiment))


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


def _leave(folder: Path, existed: bool) -> None:
    """Remove what a start wrote, unless something was trained; the folder too if made for it."""
    if (folder / FITS).exists():
        return
    remove_items(folder, _OWN)
    if not existed:
        remove_if_empty(folder)
