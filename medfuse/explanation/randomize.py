"""Randomize: the same network with weights that know nothing, from its end to its beginning."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

_STEPS = 3


def cascade(network: nn.Module, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Yield copies of a network with ever more of it randomized (Adebayo et al. 2018,
    arXiv 1810.03292): the classifier, then the sources from their last weights to their first.

    Each weight is drawn from a normal distribution with the mean and standard deviation that its
    tensor had, so that activations keep their scale.
    """
    changed: Any = copy.deepcopy(network)
    random = torch.Generator().manual_seed(seed)
    _draw(list(changed.classifier.parameters()), random)
    yield "classifier", changed
    parts = [list(source.parameters())[::-1] for source in changed.sources]
    for step in range(_STEPS):
        for own in parts:
            length = -(-len(own) // _STEPS)
            _draw(own[step * length : (step + 1) * length], random)
        name = "all weights" if step == _STEPS - 1 else f"and {step + 1}/{_STEPS} of the sources"
        yield name, changed


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy of a network in which every weight is random."""
    return list(cascade(network, seed))[-1][1]


@torch.no_grad()
def _draw(parameters: list[nn.Parameter], random: torch.Generator) -> None:
    for parameter in parameters:
        values = torch.randn(parameter.shape, generator=random)
        std = parameter.std(correction=0)
        parameter.copy_((values.to(parameter) * std + parameter.mean()).to(parameter))
