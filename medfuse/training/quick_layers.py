"""Dropout and noise that cost little on a processor, in place of others while a head trains.

Random numbers for every value of every batch take longer than the matrix product that follows.
Here a table of them is drawn once in a process, and each batch takes a part of it that begins at
a random place. It is the noise table of Salimans et al. (2017, arXiv:1703.03864), for features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

from medfuse.heads.noise import GaussianNoise

_SIZE, _MOST = 2**22, 2**20


class QuickDropout(nn.Dropout):
    """What `torch.nn.Dropout` gives, with masks from a table; on processors only."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with a part of its values 0 in training, ``x`` itself otherwise."""
        if not self.training or x.device.type != "cpu" or not 0 < self.p < 1:
            unchanged: Tensor = super().forward(x)
            return unchanged
        return x * _part(_masks(self.p), x)


class QuickNoise(GaussianNoise):
    """What `GaussianNoise` gives, from a table; on processors only."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with noise in training, ``x`` itself otherwise."""
        if not self.training or x.device.type != "cpu" or self.std == 0:
            return super().forward(x)
        return torch.add(x, _part(_normals(), x), alpha=self.std)


@contextmanager
def quick_layers(module: nn.Module) -> Iterator[None]:
    """Let dropout and noise below ``module`` be quick while the block runs.

    Parameters, buffers and their names stay; subclasses of `torch.nn.Dropout` and `GaussianNoise`
    are left alone.
    """
    found = [
        (parent, name, child, quick)
        for parent in module.modules()
        for name, child in parent.named_children()
        if (quick := _quick(child)) is not None
    ]
    for parent, name, child, quick in found:
        setattr(parent, name, quick.train(child.training))
    try:
        yield
    finally:
        for parent, name, child, _ in found:
            setattr(parent, name, child.train(getattr(parent, name).training))


def _quick(layer: nn.Module) -> nn.Module | None:
    if type(layer) is nn.Dropout and not layer.inplace:
        return QuickDropout(layer.p)
    return QuickNoise(layer.std) if type(layer) is GaussianNoise else None


def _part(table: Tensor, like: Tensor) -> Tensor:
    """Return as many values of a table, from random places of it."""
    count, pieces = like.numel(), []
    for done in range(0, count, _MOST):
        size = min(_MOST, count - done)
        start = int(torch.randint(_SIZE - size + 1, ()))
        pieces.append(table[start : start + size])
    drawn = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    return drawn.view(like.shape).to(like.dtype)


# Both are the same in every process, whatever was drawn before: a training that goes on after an
# interruption must find the noise that it would have had.
@cache
def _normals() -> Tensor:
    return torch.randn(_SIZE, generator=torch.Generator().manual_seed(0))


@cache
def _masks(p: float) -> Tensor:
    drawn = torch.rand(_SIZE, generator=torch.Generator().manual_seed(1))
    return (drawn >= p).float() / (1 - p)
