"""Cases that lack an input: masked in training, hidden by chance, never guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medfuse.config import ComponentConfig
from medfuse.model import FusedNetwork
from medfuse.registry.registry import Registry, load_registry
from medfuse.training import Run, TrainingData, build_classifier, fit, predict_logits
from medfuse.training.batches import Batch, Draws, EpochBatches, keep_some
from medfuse.training.classifier import SourceWidth
from medfuse.training.data import Presence
from medfuse.training.predict import predict_slice_weights
from medfuse.training.seeds import generator

from .conftest import make_config

COUNT = 120
LABELS = np.arange(COUNT) % 2
RUN: dict[str, Any] = {"classes": ("a", "b")}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def _presence(share: float = 1 / 3) -> Presence:
    known = np.random.default_rng(0).random((COUNT, 2)) > share
    known[~known.any(1), 0] = True
    return Presence(known, (0, 1))


def _data(filling: float = np.nan, presence: Presence | None = None) -> TrainingData:
    random = np.random.default_rng(1)
    x = random.normal(size=(COUNT, 1, 6)) + LABELS[:, None, None]
    y = random.normal(size=(COUNT, 1, 4)) - LABELS[:, None, None]
    found = presence or _presence()
    arrays = [x.astype(np.float32), y.astype(np.float32)]
    for number, array in enumerate(arrays):
        array[~found.known[:, number]] = filling
    return TrainingData.of(arrays, LABELS, presence=found)


def _model(registry: Registry, fusion: str) -> nn.Module:
    widths = [SourceWidth(6), SourceWidth(4)]
    use = ComponentConfig(use=fusion)
    return build_classifier(use, ComponentConfig(use="linear"), registry, widths, 2).module


@pytest.mark.parametrize(
    "fusion",
    [
        "concat",
        "weighted",
        "gated",
        "attention",
        "low_rank",
        "mixture_of_experts",
        "average",
        "weighted_average",
        "stacking",
    ],
)
def test_what_stands_in_place_of_a_missing_input_changes_nothing(
    registry: Registry, fusion: str
) -> None:
    config = make_config(epochs=3, lr=0.05, early_stopping=None, input_dropout=0.3)
    found = []
    for filling in (np.nan, 1e6):
        model, data = _model(registry, fusion), _data(filling)
        fit(model, data, None, config, Run(**RUN))
        found.append(predict_logits(model, data))
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(found[0], found[1])


def test_training_learns_from_cases_with_either_input(registry: Registry) -> None:
    model, data = _model(registry, "attention"), _data()
    fit(model, data, None, make_config(epochs=30, lr=0.02), Run(**RUN))
    right = predict_logits(model, data).argmax(1) == LABELS
    known = _presence().known
    for pattern in ([True, False], [False, True], [True, True]):
        assert right[(known == pattern).all(1)].mean() > 0.75, pattern


def test_a_head_of_its_own_learns_from_its_own_cases_alone(registry: Registry) -> None:
    known = np.ones((COUNT, 2), dtype=bool)
    known[:60, 0] = False
    presence = Presence(known, (0, 1))
    changed = LABELS.copy()
    config = make_config(epochs=2, lr=0.05, batch_size=COUNT, early_stopping=None, input_dropout=0)
    heads = []
    for labels in (LABELS, changed):
        model = _model(registry, "average")
        data = _data(presence=presence)
        fit(model, data.select(np.arange(COUNT)), None, config, Run(**RUN))
        heads.append([p.detach().clone() for p in model.heads[0].parameters()])
        changed[:60] = 1 - labels[:60]
    for one, other in zip(*heads, strict=True):
        torch.testing.assert_close(one, other)


def test_hidden_inputs_leave_every_case_one_and_never_show_a_missing_one() -> None:
    known = torch.from_numpy(_presence().known).float()
    kept = keep_some(known, 0.5, generator(3))
    assert (kept <= known).all()
    assert (kept.sum(1) >= 1).all()
    assert 0.3 < float(kept.sum() / known.sum()) < 0.9


def test_an_epoch_hides_inputs_by_its_number_alone() -> None:
    batches = EpochBatches(_data(), 2, 16, Draws(seed=0, input_dropout=0.4))
    first = [batch.mask for batch in batches]
    again = [batch.mask for batch in batches]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    batches.epoch = 2
    assert not torch.equal(torch.cat(first), torch.cat([b.mask for b in batches]))
    batch: Batch
    for batch in batches:
        for number, features in enumerate(batch.features):
            assert not features[batch.mask[:, number] == 0].any()


def test_a_learning_source_gets_nan_for_a_missing_input_and_learns(registry: Registry) -> None:
    presence = _presence()
    torch.manual_seed(0)
    sources = [nn.Sequential(nn.Flatten(), nn.Linear(9, 6)), nn.Sequential(nn.Linear(4, 4))]

    class Learning(nn.Sequential):
        def set_trainable(self, paths: object) -> None:
            self.requires_grad_(bool(paths))

    def load(row: int, _view: int) -> list[torch.Tensor]:
        images = [torch.full((1, 3, 3), float(LABELS[row])), torch.full((4,), 1.0)]
        return [
            x if presence.known[row, i] else torch.full_like(x, torch.nan)
            for i, x in enumerate(images)
        ]

    network = FusedNetwork([Learning(*s) for s in sources], _model(registry, "attention"), [0, 1])
    data = TrainingData.of([None, None], LABELS, presence=presence, load_view=load)
    fit(network, data, None, make_config(epochs=12, lr=0.05), Run(**RUN))
    logits = predict_logits(network, data)
    assert np.isfinite(logits).all()
    assert (logits.argmax(1) == LABELS)[presence.known[:, 0]].mean() == 1.0


def test_slice_weights_come_for_cases_that_have_the_volume(registry: Registry) -> None:
    widths = [SourceWidth(6, slices=5), SourceWidth(4)]
    use = ComponentConfig(use="concat")
    built = build_classifier(use, ComponentConfig(use="linear"), registry, widths, 2)
    presence = _presence()
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(COUNT, 1, 5, 6)), random.normal(size=(COUNT, 1, 4))]
    data = TrainingData.of([a.astype(np.float32) for a in arrays], LABELS, presence=presence)
    weights = predict_slice_weights(built.module, data)
    assert weights[1] is None
    np.testing.assert_array_equal(np.isfinite(weights[0]).all(1), presence.known[:, 0])
    np.testing.assert_allclose(weights[0][presence.known[:, 0]].sum(1), 1, rtol=1e-6)
