"""Rebuild components where neither medfuse nor the plugin is installed, and compare."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from threading import Timer
from typing import IO, Any
from weakref import finalize

import torch

from medfuse.contract import PublicTarget, VendoredSource
from medfuse.errors import PluginError
from medfuse.registry.vendoring import SCRIPTS, copy_vendored, vendored_target
from medfuse.testing import isolated
from medfuse.testing.behavior import check_close
from medfuse.testing.probes import Probe

_TIMEOUT_SECONDS = 300


class Rebuilding:
    """Rebuilds exported components one after the other, in one process without medfuse.

    The process starts with the first and ends with this object. The state of one network at a
    time lies on the disk.

    Args:
        own: the plugin's own packages, made absent.
    """

    def __init__(self, own: Collection[str]) -> None:
        self._absent = sorted({"medfuse", *own})
        self._process: _Process | None = None

    def check(self, probe: Probe) -> None:
        """Pass if a component, rebuilt there from its state dict, gives the same outputs.

        Raises:
            PluginError: it cannot be rebuilt, or answers differently.
        """
        if self._process is None:
            self._process = _Process(self._absent)
        job = _job(probe, self._process.folder / SCRIPTS)
        outcome = self._process.carry_out(job)
        if "error" in outcome:
            raise PluginError(f"cannot be rebuilt without medfuse: {outcome['error']}")
        otherwise = "rebuilt without medfuse, it answers differently"
        check_close(probe.outputs, outcome["outputs"], otherwise)


class _Process:
    """A Python process that runs `isolated`, ended when this object is gone."""

    def __init__(self, absent: list[str]) -> None:
        self.folder = Path(tempfile.mkdtemp())
        request = {"scripts": str(self.folder), "path": sys.path, "absent": absent}
        torch.save(request, self.folder / "request.pt")
        self.errors = self.folder / "errors.txt"
        with self.errors.open("wb") as errors:
            self.python = subprocess.Popen(
                [sys.executable, str(Path(isolated.__file__)), str(self.folder / "request.pt")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        finalize(self, _end, self.python, self.folder)

    def carry_out(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return outputs or error of a job.

        Raises:
            PluginError: the process ended, or took too long.
        """
        file = self.folder / "job.pt"
        torch.save(job, file)
        timer = Timer(_TIMEOUT_SECONDS, self.python.kill)
        timer.start()
        try:
            _pipe(self.python.stdin).write(f"{file}\n")
            _pipe(self.python.stdin).flush()
            answer = _pipe(self.python.stdout).readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
            file.unlink()
        if not answer:
            lines = self.errors.read_text(errors="replace").strip().splitlines()
            last = lines[-1] if lines else "no message"
            raise PluginError(f"the process that rebuilds components ended with: {last}")
        outcome: dict[str, Any] = torch.load(f"{file}.outcome", weights_only=True)
        return outcome


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _end(python: subprocess.Popen[str], folder: Path) -> None:
    python.kill()
    python.communicate()
    shutil.rmtree(folder, ignore_errors=True)


def _job(probe: Probe, scripts: Path) -> dict[str, Any]:
    export, options = probe.spec.export, dict(probe.options)
    if isinstance(export, PublicTarget):
        target = export.target
        options |= export.kwargs
    elif isinstance(export, VendoredSource):
        copy_vendored(export.modules, scripts)
        target = vendored_target(probe.spec.factory)
    return {
        "target": target,
        "arguments": list(probe.arguments),
        "options": options,
        "state": probe.module.state_dict(),
        "inputs": list(probe.inputs),
        "listed": probe.listed,
    }
