"""Processes are forked from one that has imported, found at work, and gone in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from importlib import import_module
from multiprocessing import forkserver, util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medfuse.errors import TrainingError
from medfuse.workflows.forks import forked_from
from medfuse.workflows.workers import side_by_side

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info < (3, 11),
    reason="processes are forked on Linux alone, from Python 3.11 on",
)

# What importing it does is seen in the files beside it.
IMPORTED = """
import os, time
from pathlib import Path

folder = Path(__file__).parent
(folder / f"{os.getpid()}.pid").touch()
while (folder / "wait").exists():
    time.sleep(0.01)
"""

CALLS = """
import os, time

def slowly(shared, number):
    time.sleep(0.05 if number < 100 else number)
    return number, os.getpid(), os.getppid()

def killed(shared, number):
    os.kill(os.getpid(), 9)

def writes(shared, number):
    shared[0] = number

def adds(shared, number):
    return type(shared).__name__, float(shared.sum()) + number
"""

PROGRAM = """
import some_calls
from medfuse.workflows.forks import forked_from
from medfuse.workflows.workers import side_by_side

if __name__ == "__main__":
    with forked_from("an_import"):
        found = list(side_by_side(some_calls.slowly, None, [(i,) for i in range(9)], 2))
        print(*{pid for _, *pids in found for pid in pids}, flush=True)
        list(side_by_side(some_calls.slowly, None, [(600,), (600,)], 2))
"""

ALL_IMPORTED = """
import sys
import medfuse.workflows.fit_imports
import numpy as np
import torch
from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.training.baselines import BASELINES
from medfuse.training.candidate import BankedCases, Fit, Recipe, fit_candidate

# The first gradient of a process imports for 3 ms, and may start threads: not before a fork.
torch.zeros(1, requires_grad=True).sum().backward()
before, rows = set(sys.modules), np.arange(30)
cases = BankedCases(
    values=(np.random.default_rng(0).standard_normal((30, 1, 4), np.float32),),
    slices=(0,), labels=rows % 2, views=np.ones(30, np.int64), groups=rows,
    known=np.ones((30, 1), bool), inputs=(0,), classes=("a", "b"),
)
recipe = Recipe(ComponentConfig(use="mlp"), TrainingConfig(epochs=1))
methods = [("network", "stacking"), *((method, "concat") for method in ("network", *BASELINES))]
for method, fusion in methods:
    fit = Fit(method, (0,), ComponentConfig(use=fusion), rows[:20], rows[20:], 0)
    fit_candidate(cases, fit, recipe)
print(*sorted(set(sys.modules) - before))
"""


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that processes which are started now can import."""
    (tmp_path / "an_import.py").write_text(IMPORTED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _stop()  # another test may have left it
    yield "an_import"
    _stop()


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """What the processes are asked to do, from a module that they can import."""
    (tmp_path / "some_calls.py").write_text(CALLS)
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module("some_calls")
    del sys.modules["some_calls"]


def test_what_processes_need_is_imported_once_by_another(
    tmp_path: Path, imported: str, calls: ModuleType
) -> None:
    with forked_from(imported):
        found = list(side_by_side(calls.slowly, None, [(i,) for i in range(6)], 2))
        assert sorted(i for i, _, _ in found) == list(range(6))
        workers, parents = {pid for _, pid, _ in found}, {parent for _, _, parent in found}
        assert 1 <= len(workers) <= 2
        assert parents == _importers(tmp_path)
        assert len(parents | workers | {os.getpid()}) == len(workers) + 2
        again = list(side_by_side(calls.slowly, None, [(i,) for i in range(3)], 2))
        assert {pid for _, pid, _ in again} <= workers
        other = list(side_by_side(calls.slowly, None, [(i,) for i in range(6)], 3))
        assert {parent for _, _, parent in other} == parents
        assert not any(_runs(pid) for pid in workers)
        workers = {pid for _, pid, _ in other}
    assert not any(_runs(pid) for pid in workers)


@pytest.mark.parametrize("fork", [True, False])
def test_large_arrays_are_mapped(imported: str, calls: ModuleType, fork: bool) -> None:
    with forked_from(imported) if fork else nullcontext():
        for scale in (1, 2):
            array = np.full(300_000, scale, np.float64)
            found = list(side_by_side(calls.adds, array, [(1,), (2,)], 2))
            assert sorted(found) == [("memmap", scale * 3e5 + 1), ("memmap", scale * 3e5 + 2)]
        with pytest.raises(ValueError, match="read-only"):
            list(side_by_side(calls.writes, array, [(1,)], 2))


def test_an_error_before_all_is_imported_is_not_held_up(tmp_path: Path, imported: str) -> None:
    (tmp_path / "wait").touch()  # an import that never ends
    began = time.monotonic()
    with pytest.raises(KeyError), forked_from(imported):
        while not _importers(tmp_path):
            time.sleep(0.01)
        raise KeyError
    assert time.monotonic() - began < 20
    (tmp_path / "wait").unlink()
    _stop()
    assert list(side_by_side(pow, 2, [(3,)], 2)) == [8]  # others can be started


def test_processes_are_ended_at_their_work(imported: str, calls: ModuleType) -> None:
    with pytest.raises(KeyError), forked_from(imported):
        results = side_by_side(calls.slowly, None, [(0,), *((600,) for _ in range(9))], 2)
        _, worker, _ = next(results)
        raise KeyError
    began = time.monotonic()
    while _runs(worker):
        assert time.monotonic() - began < 20
        time.sleep(0.01)


def test_an_interrupt_is_left_to_this_process(
    tmp_path: Path, imported: str, calls: ModuleType
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with forked_from(imported):
        assert signal.getsignal(signal.SIGINT) == before
        found = list(side_by_side(calls.slowly, None, [(i,) for i in range(4)], 2))
        pids = {pid for _, pid, _ in found}
        for pid in pids | _importers(tmp_path):
            os.kill(pid, signal.SIGINT)
        again = list(side_by_side(calls.slowly, None, [(i,) for i in range(4)], 2))
        assert {parent for _, _, parent in again} == _importers(tmp_path)
        assert {pid for _, pid, _ in again} <= pids
    assert signal.getsignal(signal.SIGINT) == before


def test_what_cannot_be_imported_leaves_processes_that_work(
    tmp_path: Path, imported: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forked_from(f"{imported}.nothing"):
        assert list(side_by_side(pow, 2, [(3,)], 2)) == [8]
    _stop()
    (tmp_path / "an_import.py").write_text("1 / 0")
    with forked_from(imported):
        assert list(side_by_side(pow, 2, [(3,)], 2)) == [8]
    _stop()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 30)))
    Path(tempfile.tempdir).mkdir()
    monkeypatch.setattr(util, "get_temp_dir", tempfile.gettempdir)
    with forked_from(imported):
        assert list(side_by_side(pow, 2, [(3,)], 2)) == [8]


def test_what_lies_in_the_current_folder_is_not_imported(
    tmp_path: Path, imported: str, calls: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "an_import.py").write_text("1 / 0")
    monkeypatch.chdir(folder)
    with forked_from(imported):
        found = list(side_by_side(calls.slowly, None, [(1,)], 2))
    assert {parent for _, _, parent in found} == _importers(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_runs_on_when_the_program_is_killed(
    tmp_path: Path, imported: str, calls: ModuleType, number: int
) -> None:
    (tmp_path / "a_program.py").write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "a_program.py")], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        pids = {int(pid) for pid in program.stdout.readline().split()}
        assert len(pids) == 3
        program.send_signal(number)
        assert program.stdout.read() == ""  # its end comes when nobody holds it any longer
    assert not any(_runs(pid) for pid in pids)


@pytest.mark.parametrize("fork", [True, False])
def test_a_process_that_is_ended_from_outside_is_told(
    imported: str, calls: ModuleType, fork: bool
) -> None:
    told = pytest.raises(TrainingError, match=r"memory .*--workers 1 needs")
    with forked_from(imported) if fork else nullcontext(), told:
        list(side_by_side(calls.killed, None, [(i,) for i in range(4)], 2))


@pytest.mark.slow
def test_all_that_a_fit_takes_is_imported_before_it() -> None:
    found = subprocess.run(
        [sys.executable, "-c", ALL_IMPORTED], capture_output=True, text=True, check=True
    )
    left = [name for name in found.stdout.split() if not name.startswith("medfuse.")]
    assert left == []


def _importers(folder: Path) -> set[int]:
    return {int(path.stem) for path in folder.glob("*.pid")}


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"  # ended, but nobody asked how


def _stop() -> None:
    """End the processes and the one that they are forked from: they know the module."""
    forkserver._forkserver._stop()
