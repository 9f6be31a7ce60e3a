"""A batch whose images several processes share: each computes some features, all get all.

What follows the features (fusion, head, loss, metrics) every process computes of the whole batch,
to the same numbers, so that nothing else has to be agreed upon: a loss, an early stop or a best
epoch is the same in all of them. It costs little beside the networks that read images.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from medfuse.backbones.slices import SlicedSource
from medfuse.processes import Shard
from medfuse.training.whole_batch import Rows, WholeBatch


@dataclass(frozen=True)
class Share:
    """The rows of one batch whose images this process holds.

    Attributes:
        shard: this process among those that share the batch.
        rows: the own rows; perhaps none.
        total: rows of the batch.
    """

    shard: Shard
    rows: slice
    total: int

    @classmethod
    def of(cls, shard: Shard, total: int) -> Share:
        """Return the own share of a batch of ``total`` rows."""
        return cls(shard, shard.block(total), total)

    @property
    def held(self) -> slice:
        """The own rows, or the first one for its shape where there is none."""
        return slice(0, 1) if self.rows.start == self.rows.stop else self.rows

    def features(self, module: nn.Module, x: Tensor, present: Tensor | None) -> Tensor:
        """Return the features of the whole batch, of a module that every process has.

        Their gradients reach the module in each process for its own rows: sum them up
        (`add_up_gradients`).

        Args:
            module: ``(n, ...)`` to ``(n, F)`` or more axes.
            x: what it takes, of the rows in `held`.
            present: ``(N,)`` bool of the whole batch; the others do not reach the module, and have
                features of 0. ``None`` for all.
        """
        rows = torch.arange(self.total)
        if present is not None and bool(present.any()):
            rows = rows[present.cpu()]
        elif present is not None:  # none is there: as `features_where_present` has it
            x = torch.zeros_like(x)
        start, stop = (int((rows < end).sum()) for end in (self.rows.start, self.rows.stop))
        own = rows[start:stop]
        held = x[(own - self.rows.start).to(x.device)] if len(own) else torch.zeros_like(x[:1])
        whole = WholeBatch(Rows(self.shard, start, len(own), len(rows)))
        with whole if module.training and not _goes_by_slices(module) else nullcontext():
            features = module(held)
        placed = cast("Tensor", _Gathered.apply(features, own.to(x.device), self))
        if present is None:
            return placed
        return torch.where(present.view((-1,) + (1,) * (placed.ndim - 1)), placed, 0.0)


class _Gathered(torch.autograd.Function):
    """Features of all processes' rows, of which each gives its own.

    Also a process without rows has to take part in the sums of a backward pass, so that its
    gradient is one of zeros, not none.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, own: Tensor, share: Share) -> Tensor:
        gathered = features.new_zeros((share.total, *features.shape[1:]))
        gathered[own] = features[: len(own)]
        share.shard.add_up(gathered)
        ctx.save_for_backward(own)
        ctx.held = len(features)
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        (own,) = ctx.saved_tensors
        gradient = gradients[0]
        back = gradient.new_zeros((ctx.held, *gradient.shape[1:]))
        back[: len(own)] = gradient[own]
        return back, None, None


def _goes_by_slices(module: nn.Module) -> bool:
    """Return whether a module takes rows apart itself, and computes some of them twice."""
    return any(isinstance(part, SlicedSource) for part in module.modules())


def add_up_gradients(shard: Shard, shared: nn.Module, same: Iterable[nn.Parameter]) -> None:
    """Make the gradients of all processes those of the whole batch, bit for bit the same.

    Args:
        shard: this process.
        shared: whose gradients are of each process's own rows.
        same: parameters whose gradients are of the whole batch in each process already; their
            mean takes away what the last bits differ by.
    """
    mine = [p.grad for p in shared.parameters() if p.grad is not None]
    alike = [p.grad for p in same if p.grad is not None]
    for gradient in alike:
        gradient.div_(shard.count)
    add_up_flat(shard, [*mine, *alike])


def add_up_flat(shard: Shard, tensors: list[Tensor]) -> None:
    """Replace each tensor by its sum over the processes, all of one kind in one go."""
    for dtype in sorted({x.dtype for x in tensors}, key=str):
        chosen = [x for x in tensors if x.dtype == dtype]
        flat = torch.cat([x.flatten() for x in chosen])
        shard.add_up(flat)
        for x, part in zip(chosen, torch.split(flat, [x.numel() for x in chosen]), strict=True):
            x.copy_(part.view_as(x))


def spread_state(shard: Shard, module: nn.Module) -> None:
    """Give a module the parameters and buffers of the first process."""
    for tensor in [*module.parameters(), *module.buffers()]:
        value = tensor.detach().contiguous()
        shard.spread(value)
        tensor.detach().copy_(value)
