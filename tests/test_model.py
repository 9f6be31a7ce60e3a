from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medfuse.fusion.attention import AttentionFusion
from medfuse.fusion.average import AverageFusion
from medfuse.heads.linear import LinearHead
from medfuse.heads.sigmoid import SigmoidHead
from medfuse.model import DecisionClassifier, FeatureClassifier, FusedNetwork, Standardize

DIMS = (6, 4)


class _Mean(nn.Module):
    """A source: the image's mean, repeated."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.arange(dim) + 1.0)

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1).mean(1, keepdim=True) * self.scale


def _classifier(kind: str, single: bool = False) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module
    make, classes, link = (SigmoidHead, 2, "sigmoid_pair") if single else (LinearHead, 3, "softmax")
    if kind == "feature":
        fusion = AttentionFusion(DIMS)
        made = FeatureClassifier(DIMS, fusion, make(fusion.out_dim, classes), link)
    else:
        heads = [make(d, classes) for d in DIMS]
        made = DecisionClassifier(DIMS, heads, AverageFusion(2, classes), link)
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made.eval()


def _network(kind: str) -> FusedNetwork:
    return FusedNetwork([_Mean(d) for d in DIMS], _classifier(kind)).eval()


@pytest.mark.parametrize("kind", ["feature", "decision"])
def test_the_network_is_its_sources_then_its_classifier(kind: str) -> None:
    network, image = _network(kind), torch.rand(5, 1, 8, 8)
    expected = network.classifier([source(image) for source in network.sources])
    torch.testing.assert_close(network(image), expected)
    assert network(image).shape == (5, 3)


@pytest.mark.parametrize("kind", ["feature", "decision"])
def test_the_temperature_divides_the_logits_and_is_saved(kind: str) -> None:
    network, image = _network(kind), torch.rand(5, 1, 8, 8)
    raw = network(image)
    network.temperature.fill_(2.5)
    torch.testing.assert_close(network(image) * 2.5, raw)
    assert network.state_dict()["temperature"] == 2.5


@pytest.mark.parametrize("kind", ["feature", "decision"])
def test_the_traced_network_takes_other_batch_sizes(kind: str) -> None:
    network = _network(kind)
    graph = torch.jit.trace(network, torch.rand(2, 1, 8, 8))
    image = torch.rand(7, 1, 8, 8)
    torch.testing.assert_close(graph(image), network(image))


@pytest.mark.parametrize("kind", ["feature", "decision"])
def test_a_single_logit_becomes_a_pair_whose_softmax_is_its_sigmoid(kind: str) -> None:
    classifier = _classifier(kind, single=True)
    features = [torch.randn(5, d) for d in DIMS]
    found = classifier(features).softmax(1)[:, 1]
    if kind == "feature":
        fused, _ = classifier.fusion(features, torch.ones(5, 2))
        expected = classifier.head(fused).sigmoid()[:, 0]
    else:
        each = [h(x).sigmoid()[:, 0] for h, x in zip(classifier.heads, features, strict=True)]
        expected = torch.stack(each).mean(0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["feature", "decision"])
def test_shares_leave_out_masked_sources(kind: str) -> None:
    shares = _classifier(kind).shares(
        [torch.randn(3, d) for d in DIMS], torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    )
    torch.testing.assert_close(shares.sum(1), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(shares[1], torch.tensor([1.0, 0.0]))


def test_standardization_is_numpys_and_leaves_constant_features() -> None:
    x = torch.randn(50, 3) * 4 + 7
    x[:, 2] = 3.0
    standardize = Standardize(3)
    standardize.fit(x)
    expected = (x.numpy() - x.numpy().mean(0))[:, :2] / x.numpy().std(0)[:2]
    np.testing.assert_allclose(standardize(x)[:, :2], expected, rtol=1e-4, atol=1e-5)
    assert (standardize(x)[:, 2] == 0).all()


def test_tokens_are_standardized_over_cases_and_places() -> None:
    tokens = torch.randn(20, 9, 3) * 2 + 1
    standardize = Standardize(3)
    standardize.fit(tokens)
    torch.testing.assert_close(standardize(tokens).mean((0, 1)), torch.zeros(3), atol=1e-5, rtol=0)


def test_features_are_the_standardized_ones_side_by_side() -> None:
    network, image = _network("feature"), torch.rand(5, 1, 8, 8)
    for part, x in zip(network.classifier.standardize, network.extract(image), strict=True):
        part.fit(x)
    found = network.features(image)
    assert found.shape == (5, 10)
    torch.testing.assert_close(found.mean(0), torch.zeros(10), atol=1e-5, rtol=0)
