"""A run whose source learns above a frozen part: banked, within the budget, the same result."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.config import BankConfig, SourceConfig
from medfuse.registry import load_registry
from medfuse.workflows.borders import BorderPlan, FrozenPart, frozen_parts
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment

RESNET = "timm:test_resnet.random"


def _parts(cases: int = 10, *, activations: bool = True, **source: Any) -> dict[int, FrozenPart]:
    config = SourceConfig(use=RESNET, **source)
    built = build_source(config, load_registry(), SourceTarget(channels=1, size=(32, 32)))
    bank = BankConfig(budget_gb=0.001, activations=activations)
    return BorderPlan(bank, cases, 2).banked(frozen_parts([config], [built]))


def test_the_border_lies_below_all_that_learns_at_some_time() -> None:
    later = {"after": 1, "train": "last:2"}
    assert _parts(train="last:1")[0].label == f"{RESNET} up to layer3"
    assert _parts(train="last:1", unfreeze=later)[0].label == f"{RESNET} up to layer2"
    assert _parts(unfreeze=later)[0].label == f"{RESNET} up to layer2"


def test_the_size_is_said_before_anything_is_computed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="medfuse"):
        _parts(train="last:1")
    assert "up to layer3: computed once, 10 cases x 2 views x 3.1 kB = 61.4 kB" in caplog.text


def test_activations_over_the_budget_are_left_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert _parts(1000, train="last:1") == {}
    assert "would take 6.1 MB, but 1.0 MB are left of bank.budget_gb" in caplog.text


@pytest.mark.parametrize(
    "changes", [{"train": "frozen"}, {"train": "all"}, {"train": "last:1", "activations": False}]
)
def test_nothing_is_banked_where_all_or_nothing_learns_or_nobody_wants_it(
    changes: dict[str, Any],
) -> None:
    assert _parts(**changes) == {}


def test_another_border_is_another_recipe() -> None:
    one, two = _parts(train="last:1")[0], _parts(train="last:2")[0]
    assert one.identity != two.identity
    assert one.identity != one.whole.identity


def _train(images: Path, folder: Path, *, activations: bool) -> TrainingOutcome:
    experiment = small_experiment(
        images,
        sources=[{"use": RESNET, "train": "last:1"}],
        bank={"path": str(folder / "bank"), "activations": activations},
        evaluation={"bootstrap": 0, "baselines": False},
        training={"epochs": 1},
        bundle={"graphs": False},
    )
    return train(experiment, folder / f"run{len(list(folder.glob('run*')))}", progress=False)


def _weights(run: TrainingOutcome) -> dict[str, torch.Tensor]:
    state = torch.load(run.folder / "checkpoints" / "best.pt", weights_only=True)
    learner: dict[str, torch.Tensor] = state["learner"]
    return learner


@pytest.mark.slow
@pytest.mark.long
def test_weights_after_an_epoch_are_those_without_the_bank(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    banked = _train(images, tmp_path, activations=True)
    plain = _train(images, tmp_path, activations=False)
    with caplog.at_level(logging.INFO, logger="medfuse"):
        again = _train(images, tmp_path, activations=True)
    assert "60 known, 0 new; no backbone forward was needed" in caplog.text
    assert banked.metrics["bundle"]["difference"] < 1e-5
    assert again.metrics == banked.metrics
    expected = _weights(plain)
    assert any("layer4" in name for name in expected)
    for name, values in _weights(banked).items():
        torch.testing.assert_close(values, expected[name], rtol=0, atol=1e-5)
