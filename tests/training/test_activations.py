"""A source that learns from banked activations learns what it would from images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medfuse.backbones.border import LowerPart, find_border
from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source, selected_modules
from medfuse.fusion.attention import AttentionFusion
from medfuse.fusion.slice_attention import SliceAttention
from medfuse.fusion.stacking import StackingFusion
from medfuse.heads.linear import LinearHead
from medfuse.model import DecisionClassifier, FeatureClassifier, FusedNetwork
from medfuse.training.activations import Activations
from medfuse.training.data import Presence, TrainingData
from medfuse.training.fit import fit
from medfuse.training.predict import predict_logits
from medfuse.training.run import Run, Unfreeze

from .conftest import ctrl_c_at, make_config

COUNT, VIEWS, SLICES = 24, 3, 5
LABELS = np.arange(COUNT) % 2
CONFIG = make_config(epochs=3, lr=0.02, early_stopping=None, input_dropout=0.3)
RUN = Run(classes=("a", "b"))


def _backbone() -> nn.Sequential:
    shapes = ((1, 4), (4, 5))
    stages = [
        nn.Sequential(nn.Conv2d(i, o, 3), nn.BatchNorm2d(o), nn.ReLU(), nn.Dropout(0.2))
        for i, o in shapes
    ]
    return nn.Sequential(*stages)


def _network(trainable: Any = ("1",), inputs: int = 1, sliced: bool = False) -> FusedNetwork:
    torch.manual_seed(0)
    sources: list[nn.Module] = [Source(_backbone(), nn.Identity(), trainable=trainable).eval()]
    sources += [Source(_backbone(), nn.Identity()).eval() for _ in range(inputs - 1)]
    pooling: list[nn.Module | None] = [None] * inputs
    if sliced:
        source: Any = sources[0]
        sources, pooling = [SlicedSource(source, SLICES, at_once=4).eval()], [SliceAttention(5)]
    dims = (5,) * inputs
    classifier = FeatureClassifier(
        dims, AttentionFusion(dims), LinearHead(5 * inputs, 2), "softmax", pooling
    )
    return FusedNetwork(sources, classifier, range(inputs))


def _image(case: int, view: int, shape: tuple[int, ...] = (1, 9, 9)) -> Tensor:
    numbers = torch.Generator().manual_seed(100 * case + view)
    return torch.rand(shape, generator=numbers) * (0.4 + 0.3 * float(LABELS[case]))


def _activations(network: FusedNetwork, images: Tensor, trained: Any = ("1",)) -> Activations:
    """Return the activations of images ``(cases, views, C, H, W)`` or ``(..., D)``."""
    module: Any = network.sources[0]
    source: Source = module.source if isinstance(module, SlicedSource) else module
    border = find_border(source, ["0", "1"], selected_modules(source.backbone, trained), (1, 9, 9))
    assert border is not None
    lower = LowerPart(source, border).eval()
    with torch.no_grad():
        if images.ndim == 6:
            flat = images.movedim(-1, 2)
            values = lower(flat.flatten(0, 2)).view(*flat.shape[:3], -1)
        else:
            values = lower(images.flatten(0, 1)).view(*images.shape[:2], -1)
    return Activations(values, border)


def _images(shape: tuple[int, ...] = (1, 9, 9)) -> Tensor:
    return torch.stack(
        [torch.stack([_image(c, v, shape) for v in range(VIEWS)]) for c in range(COUNT)]
    )


def _apart(one: FusedNetwork, other: FusedNetwork) -> float:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def _no_image(_case: int, _view: int) -> tuple[Tensor]:
    raise AssertionError("an image was asked for")


def _both_ways(
    data: TrainingData, banked: Activations, run: Run, load: Any = None, **network: Any
) -> float:
    """Return how far the weights are apart after training in both ways."""
    rows = np.arange(COUNT)[::-1].copy()
    found = []
    for activations in ({}, {0: banked}):
        model = _network(**network)
        loader = load or _no_image if activations else data.load_view
        cases = replace(data, activations=activations, load_view=loader).select(rows)
        fit(model, cases, cases, CONFIG, run)
        found.append(model)
    untrained = _network(**network)
    assert _apart(untrained, found[0]) > 1e-3, "something was learned"
    return _apart(*found)


def test_a_combiner_is_fitted_out_of_fold_on_activations() -> None:
    found = []
    for banked in (False, True):
        model = _network()
        torch.manual_seed(0)
        model.classifier = DecisionClassifier((5,), [LinearHead(5, 2)], StackingFusion(1, 2))
        activations = {0: _activations(model, _images())} if banked else {}
        loader = _no_image if banked else lambda c, v: (_image(c, v),)
        data = TrainingData.of([None], LABELS, VIEWS, load_view=loader, activations=activations)
        fit(model, data, None, CONFIG, RUN)
        found.append(model)
    assert _apart(*found) < 1e-5


def test_weights_are_those_of_training_on_images() -> None:
    data = TrainingData.of([None], LABELS, VIEWS, load_view=lambda c, v: (_image(c, v),))
    assert _both_ways(data, _activations(_network(), _images()), RUN) < 1e-5


def test_images_through_the_frozen_part_give_the_bits_of_the_bank() -> None:
    network, images = _network(), _images()
    banked = _activations(network, images)
    flat = images.flatten(0, 1)
    padded = torch.cat([flat, torch.zeros(-len(flat) % 16, *flat.shape[1:])])
    module: Any = network.sources[0]
    with torch.no_grad():
        lower = LowerPart(module, banked.border).eval()
        values = torch.cat([lower(block) for block in padded.split(16)])[: len(flat)]
    banked = replace(banked, values=values.view(COUNT, VIEWS, -1))
    data = TrainingData.of([None], LABELS, VIEWS, load_view=lambda c, v: (_image(c, v),))
    found = []
    for held in (banked, replace(banked, values=None)):
        model, cases = _network(), replace(data, activations={0: held})
        fit(model, cases, cases, CONFIG, RUN)
        found.append(model)
    assert _apart(*found) == 0


def test_slices_of_volumes_give_the_same_weights() -> None:
    shape = (1, 9, 9, SLICES)
    data = TrainingData.of([None], LABELS, VIEWS, load_view=lambda c, v: (_image(c, v, shape),))
    banked = _activations(_network(sliced=True), _images(shape))
    assert banked.values.shape[:3] == (COUNT, VIEWS, SLICES)
    assert _both_ways(data, banked, RUN, sliced=True) < 1e-5


def test_a_source_that_is_unfrozen_later_learns_the_same() -> None:
    run = replace(RUN, unfreeze=(Unfreeze(0, 1, ("1",)),))
    network = _network(())
    with torch.no_grad():
        features = network.sources[0](_images().flatten(0, 1)).view(COUNT, VIEWS, -1)
    data = TrainingData.of([features], LABELS, VIEWS, load_view=lambda c, v: (_image(c, v),))
    assert _both_ways(data, _activations(network, _images()), run, trainable=()) < 1e-5


def test_cases_without_the_input_are_masked_and_hidden_alike() -> None:
    known = np.random.default_rng(0).random((COUNT, 2)) > 1 / 3
    known[~known.any(1), 1] = True
    network = _network(inputs=2)
    with torch.no_grad():
        features = network.sources[1](_images().flatten(0, 1)).view(COUNT, VIEWS, -1)

    def load(case: int, view: int) -> tuple[Tensor, Tensor]:
        image = _image(case, view)
        return tuple(image if k else torch.full_like(image, torch.nan) for k in known[case])  # type: ignore[return-value]

    data = TrainingData.of(
        [None, features], LABELS, VIEWS, presence=Presence(known, (0, 1)), load_view=load
    )
    banked = _activations(network, _images())
    assert banked.values is not None
    banked.values[~torch.from_numpy(known[:, 0])] = torch.nan
    assert _both_ways(data, banked, RUN, inputs=2) < 1e-5
    by_batch = _both_ways(data, replace(banked, values=None), RUN, load=load, inputs=2)
    assert by_batch < 1e-5


def test_predictions_are_those_of_the_images() -> None:
    network = _network().eval()
    data = TrainingData.of([None], LABELS, VIEWS, load_view=lambda c, v: (_image(c, v),))
    expected = predict_logits(network, data)
    banked = replace(data, activations={0: _activations(network, _images())}, load_view=_no_image)
    np.testing.assert_allclose(predict_logits(network, banked), expected, atol=1e-6)


def test_running_statistics_below_the_border_stay_and_above_move() -> None:
    network = _network()
    before = {k: v.clone() for k, v in network.sources[0].state_dict().items()}
    banked = _activations(network, _images())
    data = TrainingData.of([None], LABELS, VIEWS, load_view=_no_image, activations={0: banked})
    fit(network, data, None, CONFIG, RUN)
    after = network.sources[0].state_dict()
    moved = {k for k, v in before.items() if not torch.equal(after[k], v)}
    assert moved
    assert all(name.startswith("backbone.1.") for name in moved)


@pytest.mark.parametrize("stop", [4, 7])
def test_a_resumed_training_ends_in_the_same_bits(tmp_path: Any, stop: int) -> None:
    from ignite.engine import Events

    at = ctrl_c_at(Events.ITERATION_STARTED(once=stop))
    whole, broken, resumed = _network(), _network(), _network()
    banked = _activations(whole, _images())
    data = TrainingData.of([None], LABELS, VIEWS, load_view=_no_image, activations={0: banked})
    fit(whole, data, None, CONFIG, RUN)
    run = replace(RUN, folder=tmp_path, checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(broken, data, None, CONFIG, replace(run, attach_handlers=at))
    fit(resumed, data, None, CONFIG, run)
    assert _apart(whole, resumed) == 0
