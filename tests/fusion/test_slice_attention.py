from __future__ import annotations

import math

import torch
from torch import nn

from medfuse.fusion.slice_attention import SliceAttention


def _trained(dim: int = 5) -> SliceAttention:
    torch.manual_seed(0)
    pooling = SliceAttention(dim)
    for parameter in pooling.parameters():
        nn.init.normal_(parameter)
    return pooling.eval()


def test_learning_starts_at_the_mean_of_the_slices() -> None:
    slices = torch.randn(3, 7, 5)
    torch.testing.assert_close(SliceAttention(5).eval()(slices), slices.mean(1))


def test_weights_sum_to_one_and_give_the_pooled_vector() -> None:
    pooling, slices = _trained(), torch.randn(3, 7, 5)
    weights = pooling.weights(slices)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert weights.std(1).min() > 0.01
    torch.testing.assert_close(pooling(slices), torch.einsum("nd,ndf->nf", weights, slices))


def test_the_order_of_slices_does_not_matter() -> None:
    pooling, slices = _trained(), torch.randn(2, 6, 5)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(pooling(slices[:, order]), pooling(slices))
    torch.testing.assert_close(pooling.weights(slices[:, order]), pooling.weights(slices)[:, order])


def test_sharpness_bounds_how_much_one_slice_counts() -> None:
    pooling, slices = _trained(), 100 * torch.randn(50, 9, 5)
    weights = pooling.weights(slices)
    assert float((weights.amax(1) / weights.amin(1)).max().detach()) <= 1.01 * math.exp(6)


def test_it_finds_the_slice_that_decides() -> None:
    torch.manual_seed(1)
    slices = torch.randn(256, 8, 5)
    labels = torch.randint(0, 2, (256,)).float()
    place = torch.randint(0, 8, (256,))
    slices[torch.arange(256), place, 0] = 6.0
    slices[torch.arange(256), place, 1] = 8 * labels - 4
    pooling, head = SliceAttention(5, dropout=0.0), nn.Linear(5, 1)
    optimizer = torch.optim.Adam([*pooling.parameters(), *head.parameters()], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(head(pooling(slices))[:, 0], labels)
        loss.backward()
        optimizer.step()
    found = pooling.eval().weights(slices)[torch.arange(256), place]
    assert float(found.mean().detach()) > 2 / 8
