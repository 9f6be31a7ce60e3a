"""The low-rank product against the full outer product of Liu et al."""

from __future__ import annotations

import torch

from medfuse.fusion.low_rank import LowRankFusion

from .conftest import DIMS

ALL = torch.ones(5, len(DIMS))


def _features() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(5, d) for d in DIMS]


def test_it_is_a_linear_layer_on_the_outer_product_of_the_bounded_projections() -> None:
    fusion, features = LowRankFusion(DIMS, width=3, rank=2).eval(), _features()
    bounded = [torch.tanh(p(x)) for p, x in zip(fusion.projections, features, strict=True)]
    with_one = [torch.cat([torch.ones(5, 1), x], 1) for x in bounded]
    outer = torch.einsum("na,nb,nc->nabc", *with_one)
    expected = torch.zeros(5, 3)
    for rank in range(2):
        for column in range(3):
            unit = 1 + rank * 3 + column
            places = [(a, b, c) for a in (0, unit) for b in (0, unit) for c in (0, unit)]
            expected[:, column] += sum(outer[:, a, b, c] for a, b, c in places if a + b + c)
    torch.testing.assert_close(fusion(features, ALL)[0], expected / 2**0.5)


def test_an_absent_source_leaves_the_product_of_the_others() -> None:
    fusion, features = LowRankFusion(DIMS).eval(), _features()
    mask = ALL.clone()
    mask[:, 2] = 0
    pair = LowRankFusion(DIMS[:2]).eval()
    for own, other in zip(pair.projections, fusion.projections, strict=False):
        own.load_state_dict(other.state_dict())
    expected, _ = pair(features[:2], ALL[:, :2])
    torch.testing.assert_close(fusion(features, mask)[0], expected)


def test_it_learns_a_label_that_only_the_product_of_two_sources_tells() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(400, 4), torch.randn(400, 4)
    same_sign = (a[:, 0] * b[:, 0] > 0).float()
    accuracy = {}
    for name, fusion in (("sum", None), ("product", LowRankFusion([4, 4], dropout=0.0))):
        head = torch.nn.Linear(8 if fusion is None else fusion.out_dim, 1)
        parts = [*head.parameters(), *(fusion.parameters() if fusion else ())]
        optimizer = torch.optim.Adam(parts, lr=0.02)
        for _ in range(150):
            x = torch.cat([a, b], 1) if fusion is None else fusion([a, b], torch.ones(400, 2))[0]
            logits = head(x)[:, 0]
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(logits, same_sign).backward()
            optimizer.step()
        accuracy[name] = float(((logits > 0) == (same_sign > 0)).float().mean())
    assert accuracy["sum"] < 0.65
    assert accuracy["product"] > 0.9
