"""Networks that compute batches side by side on a processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from medfuse.features.copies import can_be_copied
from medfuse.features.engine import lay_out, sees_volumes
from medfuse.features.request import ExtractionRequest, FeatureSource
from medfuse.threads import workers_of

Result = TypeVar("Result")

MOST_LANES = 4


class Lanes:
    """Carries out work in ``count`` threads, or at once where there is no pool of them.

    Threads of torch that share a batch wait for each other after every layer; with a batch for
    each of them the same bits come 15 % sooner (measured with MobileNets on two cores).

    Attributes:
        count: see there.
        ahead: how many results may wait to be taken.
    """

    def __init__(self, count: int, pool: ThreadPoolExecutor | None) -> None:
        self.count = count
        self.ahead = count if pool else 0
        self._pool = pool

    def begin(self, work: Callable[[], Result]) -> Future[Result]:
        """Return the future result of ``work``."""
        if self._pool is not None:
            return self._pool.submit(work)
        done: Future[Result] = Future()
        done.set_result(work())
        return done


@contextmanager
def open_lanes(
    sources: Sequence[FeatureSource], request: ExtractionRequest, device: torch.device
) -> Iterator[list[Lanes]]:
    """Give each source its lanes, in order.

    Sources share as many as there are threads of torch, at most four, which share the threads. A
    source that has to compute one batch after the other has a lane of its own with all threads,
    whatever the others have: all of them on a GPU, and for whole volumes, whose batches fill the
    memory, and networks that cannot be copied with certainty.
    """
    alone = [device.type != "cpu" or _needs_all(source, request) for source in sources]
    threads = torch.get_num_threads()
    count = 1 if all(alone) else min(MOST_LANES, threads)
    if count == 1:
        yield [Lanes(1, None) for _ in sources]
        return
    with workers_of(threads // count) as begin:
        pool = ThreadPoolExecutor(count, thread_name_prefix="medfuse", initializer=begin)
        try:
            shared = Lanes(count, pool)
            yield [Lanes(1, None) if single else shared for single in alone]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _needs_all(source: FeatureSource, request: ExtractionRequest) -> bool:
    return sees_volumes(source, request) or not can_be_copied(source.extractor, lay_out)
