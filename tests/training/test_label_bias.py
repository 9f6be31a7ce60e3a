"""Heads of several labels begin at the labels' shares, and so learn rare ones from few cases."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.registry import load_registry
from medfuse.training import Run, TrainingData, build_classifier, fit, predict_logits
from medfuse.training.classifier import SourceWidth
from medfuse.training.label_bias import begin_at_shares
from medfuse.training.label_loss import LabelLoss
from medfuse.training.quick import fit_quickly
from medfuse.training.source_heads import with_source_heads

ANSWERS = torch.tensor([[1, 0, -1], [1, 0, 1], [0, 0, -1], [1, -1, 0], [1, 0, 0]])
ODDS = torch.log(torch.tensor([5 / 2, 1 / 5, 2 / 3]))
SHARES = np.array([0.4, 0.3, 0.2, 0.1, 0.1, 0.05, 0.04, 0.03])


def classifier(labels: int, source_heads: bool = False, width: int = 8) -> nn.Module:
    parts = ComponentConfig(use="concat"), ComponentConfig(use="multilabel")
    built = build_classifier(*parts, load_registry(), [SourceWidth(width)] * 2, labels)
    return (with_source_heads(built, labels) if source_heads else built).fresh(0)


def biases(module: nn.Module, labels: int) -> list[Tensor]:
    return [
        layer.bias
        for layer in module.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == labels
    ]


@pytest.mark.parametrize("source_heads", [False, True])
def test_every_head_begins_at_the_log_odds_of_the_known_answers(source_heads: bool) -> None:
    module = classifier(3, source_heads)
    begin_at_shares(module, ANSWERS, LabelLoss())
    found = biases(module, 3)
    assert len(found) == (3 if source_heads else 1)
    for bias in found:
        torch.testing.assert_close(bias, ODDS)


def test_weights_of_positive_answers_count() -> None:
    module, weights = classifier(3), torch.tensor([0.4, 5.0, 1.0])
    begin_at_shares(module, ANSWERS, LabelLoss(weights))
    torch.testing.assert_close(biases(module, 3)[0], ODDS + weights.log())


def test_classes_and_other_layers_begin_as_before() -> None:
    module = classifier(3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    begin_at_shares(module, torch.tensor([0, 1, 2]), nn.CrossEntropyLoss())
    begin_at_shares(module, ANSWERS[:, :2], LabelLoss())  # a head of another number of outputs
    begin_at_shares(nn.Sequential(nn.Linear(4, 3)), ANSWERS, LabelLoss())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def few_cases(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    random = np.random.default_rng(seed)
    answers = (random.random((count, len(SHARES))) < SHARES).astype(np.int64)
    traces = [random.normal(size=(len(SHARES), 64)) for _ in range(2)]
    noise = (random.normal(size=(count, 64)) for _ in traces)
    pairs = zip(traces, noise, strict=True)
    return [(x + 0.45 * answers @ t).astype(np.float32)[:, None] for t, x in pairs], answers


@pytest.mark.parametrize("train", [fit, fit_quickly])
def test_rare_labels_are_learned_from_few_cases(train: object, monkeypatch) -> None:
    values, answers = few_cases(1550, 1)
    data = TrainingData.of([x[:50] for x in values], answers[:50])
    new = TrainingData.of([x[50:] for x in values], answers[50:])
    config = TrainingConfig(device="cpu", early_stopping=None)
    run = Run(classes=tuple("abcdefgh"), head_loss="binary_cross_entropy")
    found = []
    for begin in (begin_at_shares, lambda *_: None):
        for place in ("fit", "quick"):
            monkeypatch.setattr(sys.modules[f"medfuse.training.{place}"], "begin_at_shares", begin)
        module = classifier(8, width=64)
        train(module, data, None, config, run)  # type: ignore[operator]
        found.append(roc_auc_score(answers[50:], predict_logits(module, new)))
    assert found[0] > found[1] + 0.03
