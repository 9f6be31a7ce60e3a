"""Weigh opinions by how likely they make the labels of cases held out of training."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.errors import TrainingError
from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.training.choices import known_choices
from medfuse.training.data import TrainingData
from medfuse.training.minimum import to_minimum


def weigh_opinions(members: Sequence[nn.Module], left_out: Sequence[TrainingData]) -> None:
    """Give all members that pool opinions the weights that fit best on the cases left out.

    Args:
        members: trained; those that pool no opinions are left as they are.
        left_out: the cases that each member was trained without.
    """
    pools = [(m, d) for m, d in zip(members, left_out, strict=True) if isinstance(m, OpinionPool)]
    if not pools:
        return
    opinions = torch.cat([_opinions(pool, cases) for pool, cases in pools])
    labels = torch.cat([cases.labels for _, cases in pools])
    choices, answers, _ = known_choices(opinions, labels, opinions[..., 0])
    weights = fit_weights(choices, answers)
    for pool, _ in pools:
        pool.weights.copy_(weights)


def fit_weights(opinions: Tensor, labels: Tensor) -> Tensor:
    """Return one weight per opinion ``(O,)``, none negative.

    The most probable weights of a sum of log-probabilities, by cases that were held out (van der
    Laan et al., 2007, "Super learner", doi:10.2202/1544-6115.1309). Beforehand each weight is
    normal around ``1 / O`` with a standard deviation of ``1 / O``: equal weights are what two
    dozen cases can hardly change, and what a thousand decide by themselves.

    Args:
        opinions: log-probabilities ``(N, O, K)``.
        labels: ``(N,)`` class indices.

    Raises:
        TrainingError: an opinion is not finite.
    """
    said, count = opinions.double(), opinions.shape[1]
    scores = torch.full((count,), 1.0 / count, dtype=torch.float64).log().requires_grad_()

    def loss() -> Tensor:
        weights = scores.exp()
        logits = torch.einsum("nok,o->nk", said, weights)
        surprise = 0.5 * ((count * weights - 1) ** 2).sum()
        return F.cross_entropy(logits, labels) + surprise / len(labels)

    if not isfinite(to_minimum([scores], loss)):
        raise TrainingError(
            "The opinions of the sources' own heads have no finite weights. "
            "Set training.source_heads: false."
        )
    return scores.detach().exp().float()


@torch.no_grad()
def _opinions(pool: OpinionPool, cases: TrainingData) -> Tensor:
    """Return what is said of the clean views, ``(N, O, K)``."""
    pool.eval()
    mask = None if cases.mask is None else cases.mask.float()
    return pool.opinions([x[:, 0] for x in cases.features if x is not None], mask)
