from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfuse.features.ahead import Room, map_ahead


@settings(max_examples=20)
@given(st.lists(st.integers()), st.integers(1, 4), st.integers(1, 9))
def test_it_equals_map(items: list[int], workers: int, ahead: int) -> None:
    assert list(map_ahead(lambda x: x * 2, items, workers, ahead)) == [x * 2 for x in items]


def test_results_do_not_pile_up() -> None:
    begun: list[int] = []
    results = map_ahead(begun.append, range(100), workers=2, ahead=5)
    for _ in range(3):
        next(results)
    time.sleep(0.05)
    assert len(begun) <= 8
    results.close()


def test_an_error_comes_in_its_place_and_ends_the_threads() -> None:
    results = map_ahead(lambda x: 1 // x, [1, 1, 0, 1], workers=2, ahead=2)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not [t for t in threading.enumerate() if t.name.startswith("medfuse")]


def _most_waiting(sizes: list[int], room: Room[int]) -> int:
    """The most bytes that were begun and not yet handed over."""
    begun: list[int] = []
    most, used = 0, 0
    for size in map_ahead(lambda size: begun.append(size) or size, sizes, 2, room):
        used += size
        time.sleep(0.002)
        most = max(most, sum(begun) - used)
    return most


def test_large_results_wait_in_smaller_numbers() -> None:
    assert _most_waiting([10] * 60, Room(20, int, 100)) == 100
    assert _most_waiting([10] * 60, Room(4, int, 100)) == 40
    assert _most_waiting([1] * 60, Room(20, int, 100)) == 20


def test_one_result_waits_however_large_and_no_more() -> None:
    assert _most_waiting([1000] * 20, Room(20, int, 100)) <= 2 * 1000
    assert list(map_ahead(int, range(5), 2, Room(1, lambda _: 10**9, 1))) == [0, 1, 2, 3, 4]
