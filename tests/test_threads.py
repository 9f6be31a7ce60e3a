from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from medfuse.features.ahead import map_ahead
from medfuse.threads import one_thread, workers_of


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_a_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_one_thread_lasts_as_long_as_its_block() -> None:
    with pytest.raises(ValueError, match="stop"), one_thread():
        assert torch.get_num_threads() == 1
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
        raise ValueError("stop")
    assert torch.get_num_threads() == in_a_new_thread() == 3


def test_workers_work_alone_beside_a_caller_who_does_not() -> None:
    def work(_: int) -> int:
        with one_thread():
            return torch.get_num_threads()

    with workers_of() as begin:
        inside = map_ahead(work, range(50), 4, 8, begin)
        assert {(one, torch.get_num_threads()) for one in inside} == {(1, 3)}


def test_a_worker_keeps_its_number_whatever_is_set_elsewhere() -> None:
    torch.set_num_threads(8)
    with workers_of(2) as two, workers_of() as one, ThreadPoolExecutor(1, initializer=two) as pool:
        pool.submit(int).result()  # its thread has begun
        with ThreadPoolExecutor(1, initializer=one) as other:
            assert other.submit(torch.get_num_threads).result() == 1
        assert pool.submit(torch.get_num_threads).result() == 2


def test_threads_that_start_after_the_workers_have_all() -> None:
    with workers_of() as begin:
        assert set(map_ahead(lambda _: torch.get_num_threads(), range(20), 4, 8, begin)) == {1}
    assert in_a_new_thread() == 3
