from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from medfuse.contract import HeadSpec, PublicTarget, VendoredSource
from medfuse.errors import PluginError
from medfuse.testing import rebuilding
from medfuse.testing.probes import probe_head
from medfuse.testing.rebuilding import Rebuilding

LINEAR = HeadSpec(
    name="linear",
    summary="s",
    factory="torch.nn:Linear",
    export=PublicTarget(target="torch.nn.Linear"),
)
VENDORED = """
import sys
from torch import nn

class Head(nn.Linear):
    def forward(self, x):
        print("no answer")
        LAST
        return super().forward(x)
"""


@pytest.fixture
def vendored(install_plugin):
    """Install a module and return the head in it."""

    def install(name: str, last: str = "pass") -> HeadSpec:
        install_plugin(name, "", **{f"{name}_net": VENDORED.replace("LAST", last)})
        export = VendoredSource(modules=(f"{name}_net",))
        return HeadSpec(name=name, summary="s", factory=f"{name}_net:Head", export=export)

    return install


@pytest.mark.slow
def test_one_process_rebuilds_one_component_after_the_other(vendored) -> None:
    process = Rebuilding(())
    for spec in (LINEAR, vendored("first"), vendored("second"), LINEAR):
        process.check(probe_head(spec))


@pytest.mark.slow
def test_no_state_stays_on_the_disk_and_the_process_ends_with_its_owner(vendored) -> None:
    process = Rebuilding(())
    process.check(probe_head(LINEAR))
    running = process._process
    assert running is not None
    folder, python = running.folder, running.python
    assert not (folder / "job.pt").exists()
    del process, running
    gc.collect()
    assert python.poll() is not None
    assert not Path(folder).exists()


@pytest.mark.slow
def test_a_component_that_ends_the_process_is_named_by_its_last_words(vendored) -> None:
    spec = vendored("fatal", last='"medfuse" in sys.modules or sys.exit("died here")')
    with pytest.raises(PluginError, match="process that rebuilds components ended with: died here"):
        Rebuilding(()).check(probe_head(spec))


@pytest.mark.slow
def test_a_component_that_takes_too_long_is_stopped(vendored, monkeypatch) -> None:
    monkeypatch.setattr(rebuilding, "_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(PluginError, match="the process that rebuilds components ended"):
        Rebuilding(()).check(probe_head(LINEAR))


@pytest.mark.slow
def test_other_outputs_are_found() -> None:
    probe = probe_head(LINEAR)
    assert probe.outputs
    with torch.no_grad():
        next(probe.module.parameters()).add_(1.0)
    with pytest.raises(PluginError, match="rebuilt without medfuse, it answers differently"):
        Rebuilding(()).check(probe)
