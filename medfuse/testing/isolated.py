"""Rebuild components in a process that cannot import medfuse or the plugin.

This file is run as a script there, so it imports torch and the standard library alone.
``python isolated.py REQUEST`` reads what to make absent, then a line with the file of a job at a
time; it writes outputs or error to ``FILE.outcome``, and answers with a line.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def invoke(module: nn.Module, inputs: Sequence[Tensor], listed: bool) -> list[Tensor]:
    """Return a module's outputs as a flat list of tensors, ``None`` left out.

    Args:
        module: called with the inputs.
        inputs: tensors ``(N, ...)``.
        listed: all but the last input are handed over as one list.
    """
    outputs = module(list(inputs[:-1]), inputs[-1]) if listed else module(*inputs)
    if isinstance(outputs, Tensor):
        return [outputs]
    return [output for output in outputs if output is not None]


def locate(target: str) -> Any:
    """Return what a dotted path names: the longest importable module, then attributes."""
    parts = target.split(".")
    for count in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:count])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(f"no module in {target!r} can be imported", name=parts[0])


class _Absent:
    """Import finder under which some packages are not installed."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = frozenset(packages)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        del path, target
        if name.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r} where a bundle runs", name=name)
        return None


def _rebuild(job: dict[str, Any]) -> list[Tensor]:
    module = locate(job["target"])(*job["arguments"], **job["options"])
    module.load_state_dict(job["state"], strict=True)
    with torch.no_grad():
        return invoke(module.eval(), job["inputs"], job["listed"])


def _outcome(file: Path) -> dict[str, Any]:
    try:
        return {"outputs": _rebuild(torch.load(file, weights_only=True))}
    except Exception as error:  # noqa: BLE001  handed to the parent process
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def _run(request_file: Path) -> None:
    request = torch.load(request_file, weights_only=True)
    sys.path[:] = [request["scripts"], *request["path"]]
    sys.meta_path.insert(0, _Absent(request["absent"]))
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a component prints is no answer
    for line in sys.stdin:
        importlib.invalidate_caches()  # a job may have brought files
        file = Path(line.rstrip("\n"))
        torch.save(_outcome(file), f"{file}.outcome")
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    _run(Path(sys.argv[1]))
