"""How much each source counts in one case: its share in the fusion, and what goes without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medfuse.explanation.view import log_odds_of


@torch.no_grad()
def fusion_shares(network: Any, images: Sequence[Tensor]) -> list[float] | None:
    """Return the share of each source in the fusion, which sum to 1; ``None`` where it has none."""
    shares: Tensor | None = network.classifier.shares(
        network.extract(*images), network.present(*images)
    )
    return None if shares is None else [float(x) for x in shares[0]]


@torch.no_grad()
def source_effects(network: Any, images: Sequence[Tensor], class_index: int) -> list[float]:
    """Return by how much the log-odds of a class fall without each source.

    A source is taken out by giving its features the mean of the training cases, which works for
    every fusion; one whose input is missing has the effect 0. The effects need not add up: what
    two sources both know falls away only without either.
    """
    features: list[Tensor] = network.extract(*images)
    mask = network.present(*images)
    whole = float(log_odds_of(network, features, mask)[0, class_index])
    found = []
    for position, own in enumerate(features):
        if mask is not None and not bool(mask[0, position] > 0):
            found.append(0.0)
            continue
        average = mean_features(network, position).expand_as(own)
        rest = [average if i == position else x for i, x in enumerate(features)]
        found.append(whole - float(log_odds_of(network, rest, mask)[0, class_index]))
    return found


def mean_features(network: Any, position: int) -> Tensor:
    """Return the mean features ``(F,)`` of the training cases of a source, over all members."""
    return torch.stack([m.standardize[position].mean for m in _members(network)]).mean(0)


def spread_of_features(network: Any, position: int) -> Tensor:
    """Return the standard deviations ``(F,)`` of the training cases of a source."""
    return torch.stack([m.standardize[position].std for m in _members(network)]).mean(0)


def _members(network: Any) -> list[Any]:
    return list(getattr(network.classifier, "members", [network.classifier]))
