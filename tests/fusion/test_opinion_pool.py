from __future__ import annotations

import torch

from medfuse.fusion.attention import AttentionFusion
from medfuse.fusion.attention_maps import AttentionMapsFusion
from medfuse.fusion.concat import ConcatFusion
from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.fusion.slice_attention import SliceAttention
from medfuse.heads.linear import LinearHead
from medfuse.heads.sigmoid import SigmoidHead
from medfuse.model import FeatureClassifier

DIMS = (6, 4)


def _pool(classes: int = 3) -> OpinionPool:
    torch.manual_seed(0)
    head, link = (SigmoidHead, "sigmoid_pair") if classes == 2 else (LinearHead, "softmax")
    fused = FeatureClassifier(DIMS, AttentionFusion(DIMS), head(sum(DIMS), classes), link)
    return OpinionPool(fused, [head(dim, classes) for dim in DIMS]).eval()


def _features(count: int = 5) -> list[torch.Tensor]:
    return [torch.randn(count, dim) for dim in DIMS]


def test_the_pool_is_the_weighted_sum_of_opinions() -> None:
    pool, features = _pool(), _features()
    opinions = pool.opinions(features)
    torch.testing.assert_close(opinions.exp().sum(-1), torch.ones(5, 3))
    torch.testing.assert_close(opinions[:, 0], pool.fused(features).log_softmax(-1))
    torch.testing.assert_close(pool(features), opinions.mean(1).log_softmax(-1))
    pool.weights.copy_(torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(pool(features), opinions[:, 2])


def test_an_absent_source_has_no_opinion_and_gets_no_gradient() -> None:
    pool, features = _pool(), _features(1)
    mask = torch.tensor([[1.0, 0.0]])
    other = [features[0], torch.full_like(features[1], torch.nan)]
    torch.testing.assert_close(pool(features, mask), pool(other, mask))
    pool.opinions(features, mask).square().sum().backward()
    assert pool.heads[0].linear.weight.grad.abs().sum() > 0
    assert pool.heads[1].linear.weight.grad is None or not pool.heads[1].linear.weight.grad.any()
    opinions = pool.opinions(features, mask)
    torch.testing.assert_close(pool(features, mask), opinions[:, :2].mean(1).log_softmax(-1))


def test_shares_count_the_fused_and_the_single_opinions() -> None:
    pool, features = _pool(), _features()
    shares = pool.shares(features)
    torch.testing.assert_close(shares.sum(1), torch.ones(5))
    pool.weights.copy_(torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(pool.shares(features), pool.fused.shares(features))
    pool.weights.copy_(torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(pool.shares(features)[:, 0], torch.ones(5))


def test_one_logit_heads_give_two_opinions() -> None:
    pool = _pool(2)
    torch.testing.assert_close(pool(_features()).exp().sum(1), torch.ones(5))


def test_tokens_are_averaged_for_the_heads_of_sources() -> None:
    torch.manual_seed(0)
    fusion = AttentionMapsFusion(DIMS)
    fused = FeatureClassifier(DIMS, fusion, LinearHead(fusion.out_dim, 3))
    pool = OpinionPool(fused, [LinearHead(dim, 3) for dim in DIMS]).eval()
    tokens = [torch.randn(2, 9, dim) for dim in DIMS]
    alone = pool.heads[1](tokens[1].mean(1)).log_softmax(-1)
    torch.testing.assert_close(pool.opinions(tokens)[:, 2], alone)


def test_slices_count_as_in_the_fused_classifier() -> None:
    torch.manual_seed(0)
    pooling = [SliceAttention(6), None]
    fused = FeatureClassifier(DIMS, ConcatFusion(DIMS), LinearHead(10, 3), pooling=pooling)
    pool = OpinionPool(fused, [LinearHead(dim, 3) for dim in DIMS]).eval()
    features = [torch.randn(2, 5, 6), torch.randn(2, 4)]
    assert pool(features).shape == (2, 3)
    first, second = pool.slice_weights(features)
    torch.testing.assert_close(first.sum(1), torch.ones(2))
    assert second is None
