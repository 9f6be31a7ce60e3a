"""The plain loop ends bit for bit where the engines end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medfuse.config import EarlyStoppingConfig
from medfuse.errors import TrainingError
from medfuse.fusion.average import AverageFusion
from medfuse.fusion.stacking import StackingFusion
from medfuse.training.data import Presence, TrainingData
from medfuse.training.fit import fit
from medfuse.training.predict import predict_logits
from medfuse.training.quick import fit_quickly
from medfuse.training.quick_adam import QuickAdam

from .conftest import CLASSES, DIMS, make_cases, make_classifier, make_config, make_run


def _both(
    data: TrainingData, validation: TrainingData | None, decision: Any = None, **changes: Any
) -> None:
    """Train twice and compare everything that the two ways leave."""
    config = make_config(**changes)
    found = []
    for train in (fit, fit_quickly):
        model = make_classifier(3, decision() if decision else None)
        result = train(model, data, validation, config, make_run(seed=5))
        found.append((result, predict_logits(model, data)))
    (slow, logits), (quick, others) = found
    assert (quick.best_epoch, quick.stopped) == (slow.best_epoch, slow.stopped)
    assert len(quick.history) == len(slow.history)
    for mine, theirs in zip(quick.history, slow.history, strict=True):
        assert mine == {key: theirs[key] for key in mine}
    np.testing.assert_array_equal(others, logits)


CASES, OTHERS = make_cases(45), make_cases(21, seed=1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adam", "weight_decay": 0.1},
        {"optimizer": "sgd", "schedule": "plateau", "clip_gradient": 0.1},
        {"loss": "focal", "class_weights": "balanced", "sampler": "oversample"},
        {"mixup": 0.4, "label_smoothing": 0.1},
        {"epochs": 30, "early_stopping": EarlyStoppingConfig(patience=2, min_delta=0.5)},
    ],
)
def test_plain_loop_equals_the_engines(changes: dict[str, Any]) -> None:
    _both(CASES, OTHERS, **changes)


def test_plain_loop_equals_the_engines_without_validation_cases() -> None:
    _both(CASES, None)


def test_quick_adam_leaves_parameters_without_a_gradient_alone() -> None:
    used, unused = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    groups = [{"params": [used, unused], "lr": 0.1, "weight_decay": 0.5}]
    optimizer = QuickAdam(groups, decoupled=True)
    twin = torch.nn.Parameter(torch.ones(3))
    known = torch.optim.AdamW([twin], lr=0.1, weight_decay=0.5, fused=True)
    for factor in (1.0, -2.0, 3.0):
        optimizer.zero_grad()
        assert used.grad is None
        (used * factor).sum().backward()
        (twin * factor).sum().backward()
        optimizer.step()
        known.step()
        known.zero_grad()
    assert torch.equal(used, twin)
    assert torch.equal(unused, torch.ones(3))


@pytest.mark.parametrize("decoupled", [True, False])
def test_quick_adam_is_torchs_whichever_parameters_have_a_gradient(decoupled: bool) -> None:
    shapes, source = [(3, 4), (5,), (), (64, 33), (1,)], torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=source) for shape in shapes]
    own, torchs = ([p.clone().requires_grad_() for p in drawn] for _ in range(2))
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizers = [
        make(
            [
                {"params": parameters[:2], "lr": 1e-2, "weight_decay": 0.1},
                {"params": parameters[2:], "lr": 3e-3, "weight_decay": 0.0},
            ]
        )
        for make, parameters in (
            (lambda groups: QuickAdam(groups, decoupled=decoupled), own),
            (lambda groups: kind(groups, fused=True), torchs),
        )
    ]
    for step in range(20):
        for optimizer in optimizers:
            optimizer.zero_grad()
        for a, b in zip(own, torchs, strict=True):
            if step % 3 == 0 or torch.rand((), generator=source) < 0.5:
                a.grad = torch.randn(a.shape, generator=source)
                b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(own, torchs, strict=True))


@pytest.mark.parametrize("combine", [AverageFusion, StackingFusion])
def test_plain_loop_equals_the_engines_for_decisions(combine: Any) -> None:
    _both(CASES, OTHERS, lambda: combine(len(DIMS), len(CLASSES)))


def test_plain_loop_equals_the_engines_with_hidden_inputs() -> None:
    known = np.ones((45, 2), dtype=bool)
    known[::4, 1] = False
    data = make_cases(45, presence=Presence(known, (0, 1)))
    _both(data, None, input_dropout=0.3)


def test_source_without_features_is_refused() -> None:
    data = TrainingData.of([None], [0, 1, 2], load_view=lambda i, v: [torch.zeros(1, 4, 4)])
    with pytest.raises(TrainingError, match="cannot be trained quickly"):
        fit_quickly(make_classifier(), data, None, make_config(), make_run())
