"""Processes that work together: their shares, and one message where one of them fails."""

from __future__ import annotations

import pytest

from medfuse import processes
from medfuse.cli import main
from medfuse.errors import ConfigError, ImageError, PeerError
from medfuse.processes import Shard, joined_shard

TWO = {"RANK": "1", "WORLD_SIZE": "2"}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("number", [0, 1, 2, 6, 16, 17])
def test_blocks_are_all_rows_in_order_and_of_equal_size_up_to_one(number: int, count: int) -> None:
    rows = list(range(number))
    blocks = [rows[Shard(rank, count).block(number)] for rank in range(count)]
    assert [row for block in blocks for row in block] == rows
    sizes = [len(block) for block in blocks]
    assert max(sizes) - min(sizes) <= 1


def test_one_process_meets_nobody() -> None:
    assert Shard().total(5) == 5
    assert Shard().told("plan") == "plan"


def test_processes_that_cannot_meet_are_told_to_be_started_by_torchrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    text = "^2 processes cannot meet: .*MASTER_ADDR.* Start them with torchrun.$"
    with pytest.raises(ConfigError, match=text), joined_shard(TWO):
        raise AssertionError


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many processes have failed, as the last item; nothing is connected."""
    counts = [0]

    def count(more: int) -> int:
        counts.append(counts[-1] + more)
        return counts[-1]

    monkeypatch.setattr("torch.distributed.init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(processes, "_failed", count)
    monkeypatch.setattr(processes, "_LAST_WORDS", 0.0)
    return counts


def _fails(error: Exception) -> str:
    with pytest.raises(type(error)) as raised, joined_shard(TWO):
        raise error
    return str(raised.value)


@pytest.mark.usefixtures("failed")
def test_the_first_process_that_fails_says_why_and_others_are_silent() -> None:
    assert "GONE" in _fails(ImageError("GONE", "GONE: a.png"))
    with pytest.raises(PeerError, match="^$"), joined_shard(TWO):
        raise ImageError("GONE", "GONE: b.png")


@pytest.mark.usefixtures("failed")
def test_a_process_that_is_left_is_silent_only_where_another_said_why() -> None:
    assert "ended without a word" in _fails(PeerError("x"))
    _fails(ImageError("GONE", "a.png"))
    assert _fails(PeerError("x")) == ""


def test_what_another_process_says_is_not_said_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Command:
        @staticmethod
        def run(_: object) -> int:
            raise PeerError("")

    monkeypatch.setattr(main, "_module", lambda _: Command)
    parsed = main.argparse.Namespace(command="train", debug=False, quiet=False)
    assert main._guarded(parsed) == 1
    assert capsys.readouterr().err == ""
