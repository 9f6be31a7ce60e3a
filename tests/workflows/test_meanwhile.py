"""Work done by a copy of the process: its result, its failures, and that nothing of it is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuse import plots
from medfuse.workflows.gallery import Gallery
from medfuse.workflows.meanwhile import Meanwhile

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="copies are made on Linux alone")


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})


def test_a_copy_does_the_work_with_one_thread_and_is_gone() -> None:
    begun = Meanwhile(lambda: (os.getpid(), torch.get_num_threads()))
    process, threads = begun.result()
    assert process != os.getpid()
    assert threads == 1
    assert multiprocessing.active_children() == []


def test_a_result_larger_than_a_pipe_holds_arrives_whole() -> None:
    begun = Meanwhile(lambda: np.arange(1_000_000))
    np.testing.assert_array_equal(begun.result(), np.arange(1_000_000))


def test_with_one_processor_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0})
    assert Meanwhile(os.getpid).result() == os.getpid()


def test_work_whose_copy_was_killed_is_done_here() -> None:
    own = os.getpid()

    def work() -> int:
        if os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    assert Meanwhile(work).result() == own


def test_an_error_is_raised_where_the_result_is_asked_for() -> None:
    def work() -> None:
        raise ValueError("no such figure")

    begun = Meanwhile(work)
    with pytest.raises(ValueError, match="no such figure"):
        begun.result()
    assert multiprocessing.active_children() == []


def test_work_that_is_not_wanted_any_more_ends_at_once() -> None:
    begun = Meanwhile(lambda: time.sleep(60))
    assert len(multiprocessing.active_children()) == 1
    started = time.monotonic()
    begun.stop()
    assert time.monotonic() - started < 20
    assert multiprocessing.active_children() == []


def wait_in_a_copy(sender: Connection) -> None:
    """Begin work without an end in a copy, say which process that is, and wait to be killed."""

    def work() -> None:
        sender.send(os.getpid())
        time.sleep(60)

    begun = Meanwhile(work)
    time.sleep(60)
    begun.stop()


def test_a_copy_ends_with_a_process_that_is_killed() -> None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    middle = context.Process(target=wait_in_a_copy, args=(sender,))
    middle.start()
    assert receiver.poll(30)
    copy = receiver.recv()
    middle.kill()
    middle.join()
    until = time.monotonic() + 20
    while Path(f"/proc/{copy}/stat").exists() and time.monotonic() < until:
        if Path(f"/proc/{copy}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # dead, and nobody has asked for its status
        time.sleep(0.05)
    assert time.monotonic() < until


def draw(gallery: Gallery, *names: str) -> None:
    for number, name in enumerate(names):
        figure = plots.class_counts({"train": {"a": number + 1, "b": 2}}, ("a", "b"))
        gallery.add(name, figure, f"Figure {name}.")


def test_figures_drawn_meanwhile_are_those_drawn_here(tmp_path: Path) -> None:
    here = Gallery(tmp_path / "here")
    draw(here, "one", "two", "three")
    with Gallery(tmp_path / "meanwhile") as gallery:
        gallery.meanwhile(draw, "one", "two")
        gallery.meanwhile(draw, "three")
        assert not (tmp_path / "meanwhile").exists(), "a copy writes nothing"
        named = gallery.named
    assert list(named) == ["one", "two", "three"]
    assert named["two"] == here.named["two"]
    for name in ("one", "two"):
        file = tmp_path / "meanwhile" / f"{name}.png"
        assert file.read_bytes() == (tmp_path / "here" / f"{name}.png").read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_run_that_fails_leaves_no_copy_that_draws(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Gallery(tmp_path / "plots") as gallery:
        gallery.meanwhile(lambda _gallery: time.sleep(60))
        raise KeyboardInterrupt
    assert multiprocessing.active_children() == []
    assert not (tmp_path / "plots").exists()
