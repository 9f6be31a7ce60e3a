"""A network that sees some rows of a batch, and computes as if it saw all of them.

Two things in a network look beyond a row: batch norm, whose statistics are of all rows, and random
numbers, which are drawn for all rows in one go. Both are caught where torch's functions are called,
so that it does not matter which library's modules call them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from medfuse.processes import Shard


@dataclass(frozen=True)
class Rows:
    """Which rows of a batch are one's own.

    Attributes:
        shard: this process among those that share the batch.
        start: first own row.
        own: number of own rows; with 0 the network computes one row that counts for nothing.
        total: rows of the batch.
    """

    shard: Shard
    start: int
    own: int
    total: int

    @property
    def held(self) -> int:
        """Number of rows that the network computes."""
        return max(self.own, 1)

    def of_all(self, tensor: Tensor, times: int) -> Tensor:
        """Return the own part of what was drawn for all rows, ``times`` lines each."""
        start = min(self.start, self.total - self.held)
        return tensor[start * times : (start + self.held) * times]


class WholeBatch(TorchFunctionMode):
    """Within it batch norm and dropout are those of the whole batch, in every process the same.

    Random numbers are those that one process would draw, where they come from `dropout`,
    `dropout1d` to `dropout3d` or `Tensor.bernoulli_` with a number (dropped paths). Others are
    each process's own, as good but not the same.

    Args:
        rows: which rows the network sees.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self._rows = rows
        self._stand_ins: dict[Any, Callable[..., Tensor | None]] = {
            F.batch_norm: self._batch_norm,
            torch.Tensor.bernoulli_: self._bernoulli,
            F.dropout: self._dropout,
            **dict.fromkeys((F.dropout1d, F.dropout2d, F.dropout3d), self._dropout_of_channels),
        }

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, or what stands in for it."""
        stand_in = self._stand_ins.get(func)
        if stand_in is not None:
            found = stand_in(func, *args, **(kwargs or {}))
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))

    def _batch_norm(self, func: Any, *args: Any, **kwargs: Any) -> Tensor | None:
        given = inspect.signature(func).bind(*args, **kwargs)
        given.apply_defaults()
        if not given.arguments["training"]:
            return None
        x, mean, var, weight, bias, _, momentum, eps = given.arguments.values()
        normed, batch_mean, batch_var = cast(
            "tuple[Tensor, ...]", _Normed.apply(x, self._rows, eps)
        )
        if mean is not None:
            mean.lerp_(batch_mean.to(mean.dtype), momentum)
            var.lerp_(batch_var.to(var.dtype), momentum)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        if weight is not None:
            normed = normed * weight.view(shape)
        if bias is not None:
            normed = normed + bias.view(shape)
        return normed.to(x.dtype)

    def _dropout(
        self, _func: Any, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor | None:
        return self._dropped(x, x.shape[1:], p, training, inplace)

    def _dropout_of_channels(
        self, _func: Any, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor | None:
        return self._dropped(x, (x.shape[1], *(1 for _ in x.shape[2:])), p, training, inplace)

    def _dropped(
        self, x: Tensor, shape: Sequence[int], p: float, training: bool, inplace: bool
    ) -> Tensor | None:
        times = self._times(x)
        if not training or not 0 < p < 1 or not times:
            return None
        mask = x.new_empty((self._rows.total * times, *shape)).bernoulli_(1 - p).div_(1 - p)
        own = self._rows.of_all(mask, times)
        return x.mul_(own) if inplace else x * own

    def _bernoulli(self, _func: Any, x: Tensor, p: Any = 0.5, **options: Any) -> Tensor | None:
        times = self._times(x)
        if isinstance(p, Tensor) or not times:
            return None
        drawn = x.new_empty((self._rows.total * times, *x.shape[1:])).bernoulli_(p, **options)
        return x.copy_(self._rows.of_all(drawn, times))

    def _times(self, x: Tensor) -> int:
        """Return how many lines a row has; 0 where the first axis is not of rows."""
        lines, rest = divmod(len(x), self._rows.held) if x.ndim else (0, 1)
        return 0 if rest else lines


class _Normed(torch.autograd.Function):
    """``x`` with mean 0 and variance 1 in each channel, over all rows of all processes.

    Also returns the mean and the unbiased variance. One sum over the processes forward, one
    backward, as in `torch.nn.SyncBatchNorm`, which computes on GPUs alone.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        values, axes = x.float(), [0, *range(2, x.ndim)]
        number = float(x.numel() // x.shape[1]) if rows.own else 0.0
        var, mean = torch.var_mean(values, axes, correction=0)
        counts, means, variances = _of_each(rows.shard, number, mean, var)
        total = counts.sum()
        parts = (counts / total)[:, None]
        mean = (parts * means).sum(0)
        var = (parts * (variances + (means - mean) ** 2)).sum(0)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale = (var + eps).rsqrt()
        normed = (values - mean.view(shape)) * scale.view(shape)
        ctx.save_for_backward(normed, scale, total)
        ctx.rows, ctx.dtype = rows, x.dtype
        unbiased = var * (total / (total - 1).clamp(min=1))
        ctx.mark_non_differentiable(mean, unbiased)
        return normed, mean, unbiased

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        normed, scale, total = ctx.saved_tensors
        gradient = gradients[0]
        axes, shape = [0, *range(2, normed.ndim)], (1, -1) + (1,) * (normed.ndim - 2)
        sums = torch.stack([gradient.sum(axes), (gradient * normed).sum(axes)])
        ctx.rows.shard.add_up(sums)
        if not ctx.rows.own:  # a row that counts for nothing has no part in the statistics
            return torch.zeros_like(normed, dtype=ctx.dtype), None, None
        along, across = (sums / total).unbind()
        own = gradient - along.view(shape) - normed * across.view(shape)
        return (own * scale.view(shape)).to(ctx.dtype), None, None


def _of_each(
    shard: Shard, number: float, mean: Tensor, var: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what each process found: counts ``(P,)``, means and variances ``(P, C)``."""
    found = mean.new_zeros((shard.count, 1 + 2 * len(mean)))
    found[shard.rank] = torch.cat([mean.new_tensor([number]), mean, var])
    shard.add_up(found)
    return found[:, 0], found[:, 1 : 1 + len(mean)], found[:, 1 + len(mean) :]
