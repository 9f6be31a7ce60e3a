"""Processes are started early, found at work, and gone in the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

from medfuse.workflows.workers import side_by_side, started

REHEARSAL = """
import os, time
from pathlib import Path

def rehearse():
    folder = Path(__file__).parent
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(0.5)
    while (folder / "wait").exists():
        time.sleep(0.01)
"""


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "a_rehearsal.py").write_text(REHEARSAL)
    monkeypatch.syspath_prepend(tmp_path)
    yield "a_rehearsal"
    get_reusable_executor(reuse=True).shutdown(kill_workers=True)  # they know this module


def test_work_is_done_by_the_processes_that_have_rehearsed(tmp_path: Path, rehearsal: str) -> None:
    with started(2, rehearsal):
        found = list(side_by_side(_slow_pid, [(i,) for i in range(6)], 2))
        assert sorted(i for i, _ in found) == list(range(6))
        rehearsed = {int(path.stem) for path in tmp_path.glob("*.pid")}
        assert len(rehearsed) == 2
        assert {pid for _, pid in found} <= rehearsed
        again = list(side_by_side(_slow_pid, [(i,) for i in range(3)], 2))
        assert {pid for _, pid in again} <= rehearsed
    assert not any(_runs(pid) for pid in rehearsed)


def test_an_error_ends_them_before_they_are_ready(tmp_path: Path, rehearsal: str) -> None:
    (tmp_path / "wait").touch()  # a rehearsal that never ends
    with pytest.raises(KeyError), started(2, rehearsal):
        while not list(tmp_path.glob("*.pid")):
            time.sleep(0.01)
        raise KeyError
    assert not any(_runs(int(path.stem)) for path in tmp_path.glob("*.pid"))
    assert list(side_by_side(pow, [(2, 3)], 2)) == [8]  # others can be started


def test_an_interrupt_is_left_to_this_process(tmp_path: Path, rehearsal: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    with started(2, rehearsal):
        assert signal.getsignal(signal.SIGINT) == before
        assert len(list(side_by_side(_slow_pid, [(i,) for i in range(4)], 2))) == 4
        pids = {int(path.stem) for path in tmp_path.glob("*.pid")}
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        assert {pid for _, pid in side_by_side(_slow_pid, [(i,) for i in range(4)], 2)} <= pids
    assert signal.getsignal(signal.SIGINT) == before


def test_what_goes_wrong_in_a_rehearsal_is_told(tmp_path: Path, rehearsal: str) -> None:
    (tmp_path / "a_rehearsal.py").write_text("def rehearse():\n    raise OSError('no room')")
    with started(2, rehearsal), pytest.raises(OSError, match="no room"):
        list(side_by_side(pow, [(2, 3)], 2))


def test_one_process_starts_no_other(tmp_path: Path, rehearsal: str) -> None:
    with started(1, rehearsal):
        pass
    assert not list(tmp_path.glob("*.pid"))


def _slow_pid(number: int) -> tuple[int, int]:
    time.sleep(0.05)
    return number, os.getpid()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
