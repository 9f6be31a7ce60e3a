from __future__ import annotations

import pytest
import torch

from medfuse.fusion.attention import AttentionFusion
from medfuse.fusion.attention_maps import AttentionMapsFusion

from .conftest import DIMS


def _tokens() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(5, t, d) for t, d in zip((4, 9, 1), DIMS, strict=True)]


def test_without_sharpness_it_is_average_pooling_and_concatenation() -> None:
    tokens = _tokens()
    fused, shares = AttentionMapsFusion(DIMS, sharpness=0.0).eval()(tokens, torch.ones(5, 3))
    torch.testing.assert_close(fused, torch.cat([x.mean(1) for x in tokens], 1))
    torch.testing.assert_close(shares, torch.full((5, 3), 1 / 3))


def test_with_one_token_per_source_it_is_the_attention_over_sources() -> None:
    maps, vectors = AttentionMapsFusion(DIMS).eval(), AttentionFusion(DIMS).eval()
    maps.load_state_dict(vectors.state_dict())
    tokens = [x[:, :1] for x in _tokens()]
    found = maps(tokens, torch.ones(5, 3))
    expected = vectors([x[:, 0] for x in tokens], torch.ones(5, 3))
    torch.testing.assert_close(found, expected)


def test_the_order_of_the_tokens_does_not_matter() -> None:
    fusion, tokens = AttentionMapsFusion(DIMS).eval(), _tokens()
    expected = fusion(tokens, torch.ones(5, 3))
    found = fusion([x.flip(1) for x in tokens], torch.ones(5, 3))
    torch.testing.assert_close(found, expected)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 30 is not a multiple of heads 4"):
        AttentionMapsFusion(DIMS, heads=4, width=30)
