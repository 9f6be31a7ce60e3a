"""Cases divided among the processes that ``torchrun`` has started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from medfuse.errors import ConfigError, MedfuseError

_T = TypeVar("_T")
_PATIENCE = timedelta(days=7)  # the others' shares may take that much longer than one's own


@dataclass(frozen=True)
class Shard:
    """The share of one process.

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

    def device(self, name: str) -> str:
        """Return a GPU of one's own for ``auto``, where there is more than one process and GPU."""
        if name != "auto" or self.count == 1:
            return name
        import torch

        gpus = torch.cuda.device_count()
        return f"cuda:{self.local_rank % gpus}" if gpus else name

    def total(self, number: int) -> int:
        """Return the sum over all processes, once all have come here.

        Raises:
            MedfuseError: another one ended before.
        """
        if self.count == 1:
            return number
        import torch
        from torch import distributed

        value = torch.tensor([number])
        try:
            distributed.all_reduce(value)
        except RuntimeError as error:
            raise MedfuseError(
                "another process ended before its share was done; its own message says why."
            ) from error
        return int(value.item())


@contextmanager
def joined_shard(environment: Mapping[str, str]) -> Iterator[Shard]:
    """Yield the share of this process, in touch with the others.

    Args:
        environment: ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, and where to meet, as ``torchrun``
            sets them; without ``WORLD_SIZE`` there is one process.

    Raises:
        ConfigError: they contradict each other.
    """
    shard = _shard(environment)
    if shard.count == 1:
        yield shard
        return
    from torch import distributed

    distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield shard
    finally:
        distributed.destroy_process_group()


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
