"""A network that sees some rows of a batch, and computes as if it saw all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.processes import Shard
from medfuse.training.shared_batch import Share
from medfuse.training.whole_batch import Rows, WholeBatch

ROWS = 5


class Meeting:
    """Adds up the tensors of threads."""

    def __init__(self, count: int) -> None:
        self.barrier = Barrier(count, timeout=20)
        self.given: list[Tensor | None] = [None] * count

    def add_up(self, rank: int, tensor: Tensor) -> None:
        self.given[rank] = tensor.clone()
        self.barrier.wait()
        tensor.copy_(sum(self.given))  # type: ignore[arg-type]
        self.barrier.wait()


def _shards(count: int) -> list[Shard]:
    meeting = Meeting(count)

    class Met(Shard):
        def add_up(self, tensor: Tensor) -> None:
            meeting.add_up(self.rank, tensor)

    return [Met(rank, count) for rank in range(count)]


def _in_threads(one: Callable[[Shard], Tensor], count: int) -> list[Tensor]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, _shards(count)))


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)])
def test_batch_norm_and_its_gradients_are_those_of_all_rows(
    count: int, shape: tuple[int, ...]
) -> None:
    """With 7 processes and 5 rows two have none, and take part with a row that counts nothing."""
    torch.manual_seed(0)
    x, pull = torch.randn(ROWS, *shape) * 3 + 1, torch.randn(ROWS, *shape)
    make = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    whole = make(4, momentum=0.3)
    given = x.clone().requires_grad_()
    (whole(given) * pull).sum().backward()
    assert given.grad is not None

    def one(shard: Shard) -> Tensor:
        share = Share.of(shard, ROWS)
        norm = make(4, momentum=0.3)
        mine = x[share.held].clone().requires_grad_()
        own = share.rows.stop - share.rows.start
        with WholeBatch(Rows(shard, share.rows.start, own, ROWS)):
            found = norm(mine)
        (found * pull[share.held]).sum().mul(1.0 if own else 0.0).backward()
        for name in ("running_mean", "running_var"):
            expected = getattr(whole, name)
            torch.testing.assert_close(getattr(norm, name), expected, rtol=1e-5, atol=1e-6)
        assert mine.grad is not None
        return mine.grad[:own] if own else mine.grad[:0]

    found = torch.cat(_in_threads(one, count))
    torch.testing.assert_close(found, given.grad, rtol=1e-4, atol=1e-5)


DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda x: F.dropout(x, 0.4),
    "dropout in place": lambda x: F.dropout(x.clone(), 0.4, inplace=True),
    "of channels": lambda x: F.dropout2d(x, 0.4),
    "of paths": lambda x: x * x.new_empty((len(x), 1, 1, 1)).bernoulli_(0.6),
    "of lines": lambda x: F.dropout(x.flatten(0, 1), 0.4).view_as(x),
    "not in training": lambda x: F.dropout(x, 0.4, training=False),
}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("count", [2, 3])
def test_random_numbers_are_those_that_one_process_draws(draw: str, count: int) -> None:
    x = torch.ones(ROWS, 6, 2, 2)
    torch.manual_seed(3)
    whole, after = DRAWS[draw](x), torch.rand(3)
    for shard in (Shard(rank, count) for rank in range(count)):
        block = shard.block(ROWS)
        torch.manual_seed(3)
        with WholeBatch(Rows(shard, block.start, block.stop - block.start, ROWS)):
            found = DRAWS[draw](x[block])
        np.testing.assert_array_equal(found, whole[block])
        np.testing.assert_array_equal(torch.rand(3), after, "what is drawn later is the same too")


def test_a_share_without_rows_holds_one_for_its_shape() -> None:
    shares = [Share.of(Shard(rank, 3), 2) for rank in range(3)]
    assert [share.rows for share in shares] == [slice(0, 1), slice(1, 2), slice(2, 2)]
    assert [share.held for share in shares] == [slice(0, 1), slice(1, 2), slice(0, 1)]
