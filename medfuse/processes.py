"""The processes that ``torchrun`` has started: who does which share, and how they meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from medfuse.errors import ConfigError, PeerError

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")
_PATIENCE = timedelta(days=7)  # the others' shares may take that much longer than one's own
_FAILED = "medfuse/failed"
_LAST_WORDS = 3.0  # seconds that a process needs to say why it ends
_LEFT_ALONE = (
    "another process ended without a word, before its share was done. Most often it was killed: "
    "look for its signal in what torchrun says, and for the memory of the machine."
)


@dataclass(frozen=True)
class Shard:
    """The share of one process.

    What is called of all of them waits until all have come there, and raises `PeerError` where
    another one has ended before.

    Attributes:
        rank: of this process, from 0.
        count: of processes.
        local_rank: of this process on its machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that puts together what all have done."""
        return self.rank == 0

    def of(self, cases: Sequence[_T]) -> Sequence[_T]:
        """Return every ``count``-th case, so that slow ones are spread."""
        return cases if self.count == 1 else cases[self.rank :: self.count]

    def block(self, number: int) -> slice:
        """Return the own of ``count`` blocks of rows, of equal size up to one row."""
        size, more = divmod(number, self.count)
        start = self.rank * size + min(self.rank, more)
        return slice(start, start + size + (self.rank < more))

    def device(self, name: str) -> str:
        """Return a GPU of one's own for ``auto``, where there is more than one process and GPU."""
        if name != "auto" or self.count == 1:
            return name
        import torch

        gpus = torch.cuda.device_count()
        return f"cuda:{self.local_rank % gpus}" if gpus else name

    def total(self, number: int) -> int:
        """Return the sum over all processes, once all have come here."""
        if self.count == 1:
            return number
        import torch

        value = torch.tensor([number])
        self.add_up(value)
        return int(value.item())

    def add_up(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by its sum over all processes, bit for bit the same in all."""
        if self.count > 1:
            from torch import distributed

            _meeting(distributed.all_reduce, tensor)

    def spread(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by that of the first process."""
        if self.count > 1:
            from torch import distributed

            _meeting(distributed.broadcast, tensor, 0)

    def told(self, value: _T | None) -> _T:
        """Return what the first process gave; what others give is not looked at."""
        if self.count > 1:
            import torch
            from torch import distributed

            said = [value]
            _meeting(distributed.broadcast_object_list, said, 0, device=torch.device("cpu"))
            value = said[0]
        return value  # type: ignore[return-value]


@contextmanager
def joined_shard(environment: Mapping[str, str]) -> Iterator[Shard]:
    """Yield the share of this process, in touch with the others.

    Where the block fails in several processes, the first of them raises its error, and all others
    a `PeerError` without a text, so that there is one message.

    Args:
        environment: ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, and where to meet, as ``torchrun``
            sets them; without ``WORLD_SIZE`` there is one process.

    Raises:
        ConfigError: they contradict each other.
        PeerError: another process failed.
    """
    shard = _shard(environment)
    if shard.count == 1:
        yield shard
        return
    from torch import distributed

    try:
        distributed.init_process_group(_backend(shard, environment), timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{shard.count} processes cannot meet: {said}. Start them with torchrun."
        ) from error
    try:
        yield shard
        leave()
    except PeerError:
        raise PeerError("" if _is_told() else _LEFT_ALONE) from None
    except BaseException as error:
        # The connections end with the process. To end them here may wait for another process.
        if _told_before():
            raise PeerError("") from error
        raise


def leave() -> None:
    """End being in touch; each process goes on alone, and the others may end."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _backend(shard: Shard, environment: Mapping[str, str]) -> str:
    """Return Gloo; for GPUs NCCL, which wants one for each process."""
    import torch
    from torch import distributed

    here = int(environment.get("LOCAL_WORLD_SIZE") or shard.count)
    if not distributed.is_nccl_available() or torch.cuda.device_count() < here:
        return "gloo"
    torch.cuda.set_device(shard.local_rank)
    return "cpu:gloo,cuda:nccl"


def _meeting(collective: Callable[..., Any], *args: Any, **options: Any) -> None:
    try:
        collective(*args, **options)
    except RuntimeError as error:
        raise PeerError(_LEFT_ALONE) from error


def _told_before() -> bool:
    """Say that this process fails, and return whether another one has said so before."""
    return _failed(1) > 1


def _is_told() -> bool:
    """Return whether a process says, now or soon, why it fails."""
    end = time.monotonic() + _LAST_WORDS
    while not (told := _failed(0) > 0) and time.monotonic() < end:
        time.sleep(0.1)
    return told


def _failed(more: int) -> int:
    """Return how many processes have failed; 0 where nobody is left who would know."""
    from torch.distributed.distributed_c10d import _get_default_store

    try:
        store: Any = _get_default_store()
        return int(store.add(_FAILED, more))
    except (RuntimeError, ValueError):
        return 0


def _shard(environment: Mapping[str, str]) -> Shard:
    given = {name: environment.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if given["WORLD_SIZE"] in ("", "1"):
        return Shard()
    try:
        shard = Shard(*(int(given[n] or 0) for n in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    except ValueError:
        shard = Shard(count=0)
    if not given["RANK"] or not 0 <= shard.rank < shard.count:
        raise ConfigError(
            f"RANK is {given['RANK']!r} and WORLD_SIZE is {given['WORLD_SIZE']!r}, expected a rank "
            "from 0 below the number of processes. Start them with torchrun."
        )
    return shard
