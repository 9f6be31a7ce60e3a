"""How far long work is: a bar on a terminal, elsewhere a line each minute."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from medfuse import progress
from medfuse.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands still between calls of `pass_by`, for tqdm and for what is logged."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(progress.tqdm, "monitor_interval", 0)
    monkeypatch.setattr("tqdm.std.time", clock)
    monkeypatch.setattr(progress.time, "monotonic", clock)
    yield clock
    clock.pass_by(0)


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> io.StringIO:
    caplog.set_level(logging.INFO, "medfuse")
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    return stderr


def test_a_line_is_logged_each_minute_where_there_is_no_terminal(
    clock: Clock, stderr: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in progress_bar(range(400), "features", 400, unit="image"):
        clock.pass_by(1)
    assert caplog.messages[:2] == [
        "features: 15 % (60 of 400), 01:00 so far, 05:40 left",
        "features: 30 % (120 of 400), 02:00 so far, 04:40 left",
    ]
    assert len(caplog.messages) == 6
    assert stderr.getvalue() == ""


def test_what_tqdm_asks_for_between_two_items_tells_their_number(
    clock: Clock, stderr: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    """Its monitor does, from a thread, where work slows down."""
    bar = progress_bar(range(400), "features", 400, unit="image")
    for number in bar:
        clock.pass_by(1 if number < 70 else 30)
        if number == 71:
            bar.refresh()
            break
    assert caplog.messages[-1].startswith("features: 18 % (71 of 400)")
    assert stderr.getvalue() == ""


def test_what_takes_less_than_a_minute_says_nothing(
    clock: Clock, stderr: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in progress_bar(range(50), "features", 50, unit="image"):
        clock.pass_by(1)
    assert caplog.messages == []
    assert stderr.getvalue() == ""


def test_shares_are_told_without_numbers_that_say_nothing(
    clock: Clock, stderr: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    with progress_bar(None, "comparing", 1000) as bar:
        clock.pass_by(61)
        bar.update(250)
    assert caplog.messages == ["comparing: 25 %, 01:01 so far, 03:03 left"]
    assert stderr.getvalue() == ""


def test_words_that_change_often_are_told_each_minute_only(
    clock: Clock, stderr: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    with progress_bar(None, "training", 100, unit="batch", initial=50) as bar:
        for epoch in range(1, 13):
            clock.pass_by(10)
            bar.update(2)
            bar.set_description_str(f"epoch {epoch}")
            bar.set_postfix_str(f"loss {epoch}")
    assert [text.partition(",")[0] for text in caplog.messages] == [
        "epoch 5: 62 % (62 of 100)",
        "epoch 11: 74 % (74 of 100)",
    ]
    assert ", loss 5, 01:00 so far" in caplog.messages[0]
    assert stderr.getvalue() == ""


class Written:
    """A stream as some hosts of Python have it: without `isatty`."""

    def write(self, _: str) -> int:
        raise AssertionError("nothing is written")


@pytest.mark.parametrize("stream", [None, Written()])
@pytest.mark.usefixtures("stderr")
def test_a_process_without_a_whole_stderr_logs_its_lines(
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stream: object,
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    for _ in progress_bar(range(100), "features", 100, unit="image"):
        clock.pass_by(1)
    assert len(caplog.messages) == 1


def test_a_terminal_shows_a_bar_and_logs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.INFO, "medfuse")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    for _ in progress_bar(range(400), "features", 400, unit="image"):
        clock.pass_by(1)
    assert "features:  15%|" in terminal.getvalue()
    assert caplog.messages == []


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize(("shown", "total"), [(False, 100), (True, 0)])
def test_nothing_is_shown_unless_asked_for_or_of_nothing(
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stream: type[io.StringIO],
    shown: bool,
    total: int,
) -> None:
    caplog.set_level(logging.INFO, "medfuse")
    monkeypatch.setattr(sys, "stderr", place := stream())
    for _ in progress_bar(range(total), "features", total, shown=shown):
        clock.pass_by(100)
    assert place.getvalue() == ""
    assert caplog.messages == []
