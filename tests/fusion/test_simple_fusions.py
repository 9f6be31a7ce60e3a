"""Concatenation, weights and gates against independent computations."""

from __future__ import annotations

import torch

from medfuse.fusion.concat import ConcatFusion
from medfuse.fusion.gated import GatedFusion
from medfuse.fusion.weighted import WeightedFusion

from .conftest import DIMS

ALL = torch.ones(5, len(DIMS))


def _features() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(5, d) for d in DIMS]


def test_concat_is_torch_cat() -> None:
    features = _features()
    fused, shares = ConcatFusion(DIMS)(features, ALL)
    assert torch.equal(fused, torch.cat(features, 1))
    assert shares is None


def test_untrained_weights_give_concatenation() -> None:
    features = _features()
    fused, shares = WeightedFusion(DIMS)(features, ALL)
    torch.testing.assert_close(fused, torch.cat(features, 1))
    torch.testing.assert_close(shares, torch.full((5, 3), 1 / 3))


def test_weighted_shares_are_the_softmax_of_the_scores() -> None:
    fusion = WeightedFusion(DIMS)
    fusion.scores.data = torch.tensor([0.5, -1.0, 2.0])
    fused, shares = fusion(_features(), ALL)
    torch.testing.assert_close(shares, fusion.scores.softmax(0).expand(5, 3))
    weighed = [3 * s * x for s, x in zip(fusion.scores.softmax(0), _features(), strict=True)]
    torch.testing.assert_close(fused, torch.cat(weighed, 1))


def test_a_width_adds_up_the_projections() -> None:
    fusion = WeightedFusion(DIMS, width=7).eval()
    fused, _ = fusion(_features(), ALL)
    projected = [p(x) for p, x in zip(fusion.projections, _features(), strict=True)]
    torch.testing.assert_close(fused, sum(projected) / 3)


def test_an_untrained_gate_gives_concatenation() -> None:
    features = _features()
    fused, _ = GatedFusion(DIMS).eval()(features, ALL)
    torch.testing.assert_close(fused, torch.cat(features, 1))


def test_a_trained_gate_weighs_each_case_for_itself() -> None:
    fusion = GatedFusion(DIMS).eval()
    torch.nn.init.normal_(fusion.gate.weight)
    _, shares = fusion(_features(), ALL)
    assert shares.std(0).min() > 1e-3
