from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medfuse.fusion.attention import AttentionFusion

from .conftest import DIMS

_PARTS = ([3, 2, 3, 2], [2, 1, 2, 1])


def _features(rows: int = 5) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(rows, d) for d in DIMS]


def test_shares_are_the_head_averaged_weights_of_torchs_multihead_attention() -> None:
    fusion = AttentionFusion(DIMS, heads=2, width=8, sharpness=3.0).eval()
    features, width = _features(), 8
    oracle = torch.nn.MultiheadAttention(width, 2, bias=False, batch_first=True)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(torch.eye(width).repeat(3, 1))
    tokens = torch.stack([k(x) for k, x in zip(fusion.keys, features, strict=True)], 1)
    keys = F.normalize(tokens.view(5, 3, 2, 4), dim=-1).view(5, 3, width)
    query = F.normalize(fusion.query, dim=-1).view(1, 1, width).expand(5, 1, width)
    _, weights = oracle(query * 3.0 * 4**0.5, keys, keys, average_attn_weights=True)
    _, shares = fusion(features, torch.ones(5, 3))
    torch.testing.assert_close(shares, weights[:, 0])


def test_without_sharpness_it_is_concatenation() -> None:
    features = _features()
    fused, _ = AttentionFusion(DIMS, sharpness=0.0).eval()(features, torch.ones(5, 3))
    torch.testing.assert_close(fused, torch.cat(features, 1))


def test_exchanging_sources_and_their_parameters_exchanges_the_shares() -> None:
    torch.manual_seed(0)
    fusion = AttentionFusion((6, 6)).eval()
    features = [torch.randn(5, 6), torch.randn(5, 6)]
    _, shares = fusion(features, torch.ones(5, 2))
    fusion.keys = torch.nn.ModuleList(list(fusion.keys)[::-1])
    _, exchanged = fusion(features[::-1], torch.ones(5, 2))
    torch.testing.assert_close(exchanged, shares.flip(1))


def test_a_score_is_bounded_by_the_sharpness() -> None:
    fusion = AttentionFusion((6, 6), sharpness=1.0).eval()
    _, shares = fusion([torch.randn(99, 6) * 1e3, torch.randn(99, 6)], torch.ones(99, 2))
    lowest = torch.tensor([-1.0, 1.0]).softmax(0)[0]
    assert shares.min() >= lowest - 1e-6


def test_every_head_weighs_its_own_part_of_the_channels_of_every_source() -> None:
    torch.manual_seed(0)
    fusion = AttentionFusion((10, 6), heads=4, width=8, sharpness=2.0).eval()
    features = [torch.randn(5, 10), torch.randn(5, 6)]
    fused, shares = fusion(features, torch.ones(5, 2))
    scale = fused / torch.cat(features, 1)
    sources = zip(scale.split([10, 6], 1), _PARTS, strict=True)
    by_head = [part.split(sizes, 1) for part, sizes in sources]
    for weighed, share in zip(by_head, shares.unbind(1), strict=True):
        means = torch.stack([part.mean(1) for part in weighed])
        assert all(torch.allclose(part, part[:, :1]) for part in weighed)
        assert (means[1:] - means[:1]).abs().min() > 1e-4
        torch.testing.assert_close(means.mean(0) / 2, share)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 30 is not a multiple of heads 4"):
        AttentionFusion(DIMS, heads=4, width=30)
