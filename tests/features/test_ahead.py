from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfuse.features.ahead import map_ahead


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
