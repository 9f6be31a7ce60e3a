from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.table_row import TableRow
from medfuse.fusion.attention import AttentionFusion
from medfuse.fusion.average import AverageFusion
from medfuse.fusion.slice_attention import SliceAttention
from medfuse.heads.linear import LinearHead
from medfuse.heads.sigmoid import SigmoidHead
from medfuse.model import (
    ClassifierEnsemble,
    DecisionClassifier,
    FeatureClassifier,
    FusedNetwork,
    Standardize,
    features_where_present,
)

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


class _Inputs:
    """A network of three inputs: slices of a volume, an image, a table row."""

    def __init__(self, kind: str = "feature") -> None:
        dims = (6, 4, 3)
        self.dims = dims
        pooling = [SliceAttention(6), None, None]
        torch.manual_seed(0)
        made: nn.Module
        if kind == "feature":
            fusion = AttentionFusion(dims)
            head = LinearHead(fusion.out_dim, 3)
            made = FeatureClassifier(dims, fusion, head, pooling=pooling)
        else:
            heads = [LinearHead(d, 3) for d in dims]
            made = DecisionClassifier(dims, heads, AverageFusion(3, 3), pooling=pooling)
        for parameter in made.parameters():
            nn.init.normal_(parameter)
        sources = [SlicedSource(_Mean(6), 5, 2), _Mean(4), TableRow()]
        self.network = FusedNetwork(sources, made, [0, 1, 2]).eval()
        self.images = [torch.rand(4, 1, 8, 8, 5), torch.rand(4, 1, 6, 6), torch.rand(4, 3)]

    def without(self, *missing: tuple[int, int]) -> list[Tensor]:
        images = [image.clone() for image in self.images]
        for case, number in missing:
            images[number][case] = torch.nan
        return images


@pytest.mark.parametrize("kind", ["feature", "decision"])
def test_a_missing_input_is_masked_and_no_other_case_changes(kind: str) -> None:
    kit = _Inputs(kind)
    everything = kit.network(*kit.images)
    found = kit.network(*kit.without((1, 0), (2, 1), (2, 2)))
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[[0, 3]], everything[[0, 3]])
    assert not torch.allclose(found[1], everything[1])
    features = kit.network.extract(*kit.images)
    mask = torch.tensor([[1.0, 1, 1], [0, 1, 1], [1, 0, 0], [1, 1, 1]])
    garbage = [torch.where(mask[:, i].view(-1, *[1] * (x.ndim - 1)) > 0, x, 77.0)
               for i, x in enumerate(features)]  # fmt: skip
    torch.testing.assert_close(found, kit.network.classifier(garbage, mask))


def test_features_of_a_missing_input_are_the_mean_of_the_training_cases() -> None:
    kit = _Inputs()
    features = kit.network.features(*kit.without((0, 1)))
    assert features.shape == (4, sum(kit.dims))
    assert features[0, 6:10].abs().max() == 0
    assert torch.isfinite(features).all()


def test_a_source_in_training_never_sees_a_case_without_its_input() -> None:
    kit = _Inputs()
    norm = nn.BatchNorm2d(1)
    source = nn.Sequential(norm, nn.Flatten(), nn.Linear(36, 4)).train()
    image = kit.without((0, 1), (2, 1))[1]
    found = features_where_present(source, image)
    assert found[[0, 2]].abs().max() == 0
    expected = 0.9 * torch.zeros(1) + 0.1 * image[[1, 3]].mean().view(1)
    torch.testing.assert_close(norm.running_mean, expected)
    found.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in source.parameters())


def test_traced_networks_mask_what_is_missing_too() -> None:
    kit = _Inputs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace_module(kit.network, {"forward": tuple(kit.images)})
    images = [x[:3] for x in kit.without((1, 0), (2, 1))]
    torch.testing.assert_close(traced(*images), kit.network(*images))


def test_slice_weights_are_told_for_sliced_sources_alone() -> None:
    kit = _Inputs()
    classifier = kit.network.classifier
    weights = classifier.slice_weights(kit.network.extract(*kit.images))
    assert weights[0].shape == (4, 5)
    assert weights[1:] == [None, None]
    both = ClassifierEnsemble([classifier, classifier])
    torch.testing.assert_close(both.slice_weights(kit.network.extract(*kit.images))[0], weights[0])
