"""How much memory there is: of the machine, or of the container that has less."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfuse import memory


def test_the_limit_of_a_container_counts_and_max_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_LIMITS", (limit, tmp_path / "absent"))
    whole = memory.memory_size()
    assert whole > 1e8
    limit.write_text("max\n")
    assert memory.memory_size() == whole
    limit.write_text("50000000\n")
    assert memory.memory_size() == 5e7


def test_processes_on_one_machine_have_equal_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("50000000\n")
    monkeypatch.setattr(memory, "_LIMITS", (limit,))
    for given, share in (("4", 1.25e7), ("1", 5e7), ("", 5e7), ("many", 5e7)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", given)
        assert memory.memory_size() == share
