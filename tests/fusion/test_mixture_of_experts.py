"""The mixture against its formula, with an expert per source and with joint experts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfuse.fusion.mixture_of_experts import MixtureOfExpertsFusion

from .conftest import DIMS

ALL = torch.ones(5, len(DIMS))


def _features() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(5, d) for d in DIMS]


def _fusion(**options: int) -> MixtureOfExpertsFusion:
    torch.manual_seed(2)
    fusion = MixtureOfExpertsFusion(DIMS, **options).eval()
    nn.init.normal_(fusion.gate.weight)
    return fusion


@pytest.mark.parametrize("experts", [0, 4])
def test_the_result_is_the_experts_answers_weighed_by_the_softmax_of_the_gate(experts: int) -> None:
    fusion, features = _fusion(experts=experts, width=7), _features()
    joined = torch.cat(features, 1)
    weights = torch.tanh(fusion.gate(joined)).softmax(1)
    seen = features if experts == 0 else [joined] * experts
    answers = [e(x).clamp(min=0) for e, x in zip(fusion.experts, seen, strict=True)]
    expected = sum(w[:, None] * a for w, a in zip(weights.T, answers, strict=True))
    fused, shares = fusion(features, ALL)
    torch.testing.assert_close(fused, expected)
    if experts:
        assert shares is None
    else:
        torch.testing.assert_close(shares, weights)


def test_an_untrained_gate_weighs_all_experts_the_same() -> None:
    _, shares = MixtureOfExpertsFusion(DIMS)(_features(), ALL)
    torch.testing.assert_close(shares, torch.full((5, 3), 1 / 3))


def test_a_trained_gate_weighs_each_case_for_itself() -> None:
    _, shares = _fusion()(_features(), ALL)
    assert shares.std(0).min() > 1e-3


@pytest.mark.parametrize("experts", [0, 4])
def test_what_is_absent_is_not_seen_and_nothing_gives_nothing(experts: int) -> None:
    fusion, features = _fusion(experts=experts), _features()
    mask = ALL.clone()
    mask[0, 1] = 0
    mask[1] = 0
    found, _ = fusion(features, mask)
    garbage = [torch.where(mask[:, i, None] > 0, x, torch.nan) for i, x in enumerate(features)]
    assert torch.equal(fusion(garbage, mask)[0], found)
    assert (found[1] == 0).all()
    assert not torch.allclose(found[0], fusion(features, ALL)[0][0])
