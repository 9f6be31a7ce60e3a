"""Absent sources become zeros, present ones stay; graphs hold both cases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medfuse.fusion.presence import zeros_where_absent

FEATURES = [torch.randn(3, 4), torch.randn(3, 2, 5)]
HALF = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


class _Zeros(nn.Module):
    def forward(self, vectors: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        one, two = zeros_where_absent([vectors, tokens], mask)
        return one, two


def _expected(mask: Tensor) -> list[Tensor]:
    return [x * mask[:, i].view(3, *(1,) * (x.ndim - 1)) for i, x in enumerate(FEATURES)]


@pytest.mark.parametrize("mask", [HALF, torch.ones(3, 2), torch.ones(3, 1).expand(-1, 2)])
def test_absent_sources_are_zeros(mask: Tensor) -> None:
    for found, expected in zip(zeros_where_absent(FEATURES, mask), _expected(mask), strict=True):
        assert torch.equal(found, expected)


def test_what_an_absent_source_holds_does_not_matter() -> None:
    garbage = [x.clone() for x in FEATURES]
    garbage[0][1], garbage[1][0] = torch.nan, torch.inf
    for found, expected in zip(zeros_where_absent(garbage, HALF), _expected(HALF), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["trace", "export"])
def test_a_graph_of_complete_cases_serves_incomplete_ones(kind: str) -> None:
    example = (*FEATURES, torch.ones(3, 2))
    graph = (
        torch.jit.trace(_Zeros(), example)
        if kind == "trace"
        else torch.export.export(_Zeros(), example).module()
    )
    for found, expected in zip(graph(*FEATURES, HALF), _expected(HALF), strict=True):
        assert torch.equal(found, expected)
