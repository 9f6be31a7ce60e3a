"""Work done in threads a little ahead of its use, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ROOM = 256_000_000


@dataclass(frozen=True)
class Room(Generic[Result]):
    """How much may wait to be used.

    Attributes:
        count: results.
        size: bytes of one.
        total: bytes of all, as if each were as large as the largest so far; one may always wait.
    """

    count: int
    size: Callable[[Result], int]
    total: int = field(default_factory=lambda: ROOM)


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    ahead: int | Room[Result],
    begin_thread: Callable[[], None] | None = None,
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` in order; at most ``ahead`` results wait to be used.

    Each worker calls ``begin_thread`` first.

    Until the first size is known, no more than ``workers`` results of a `Room` are begun. An
    error is raised where its item's result would have come; what had not begun is dropped.
    """
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="medfuse", initializer=begin_thread)
    waiting: deque[Future[Result]] = deque()
    room = None if isinstance(ahead, int) else ahead
    most = ahead if isinstance(ahead, int) else min(workers, ahead.count)
    largest = 1

    def begin() -> None:
        new = islice(remaining, max(0, most - len(waiting)))
        waiting.extend(pool.submit(function, item) for item in new)

    try:
        begin()
        while waiting:
            result = waiting.popleft().result()
            if room is not None:
                largest = max(largest, room.size(result))
                most = max(1, min(room.count, room.total // largest))
            begin()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
