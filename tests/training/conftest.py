"""Small separable cases, and classifiers for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medfuse.config import TrainingConfig
from medfuse.fusion.average import AverageFusion
from medfuse.fusion.concat import ConcatFusion
from medfuse.heads.linear import LinearHead
from medfuse.heads.mlp import MlpHead
from medfuse.model import DecisionClassifier, FeatureClassifier
from medfuse.training.data import TrainingData
from medfuse.training.run import Run

DIMS = (6, 4)
CLASSES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_cases(count: int = 45, views: int = 3, seed: int = 0, **extra: Any) -> TrainingData:
    """Return cases whose first features tell the class."""
    numbers = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    features = []
    for dim in DIMS:
        x = numbers.normal(size=(count, views, dim)).astype(np.float32) * 2 + 5
        x[np.arange(count), :, labels] += 3
        features.append(x)
    return TrainingData.of(features, labels, **extra)


def make_classifier(seed: int = 0, decision: nn.Module | None = None) -> nn.Module:
    """Return an untrained classifier: concatenation and an MLP, or one linear head a source."""
    torch.manual_seed(seed)
    if decision is not None:
        heads = [LinearHead(d, len(CLASSES)) for d in DIMS]
        return DecisionClassifier(DIMS, heads, decision)
    fusion = ConcatFusion(DIMS)
    return FeatureClassifier(DIMS, fusion, MlpHead(fusion.out_dim, len(CLASSES), hidden=8))


def make_config(**changes: Any) -> TrainingConfig:
    """Return a short training."""
    return TrainingConfig(**{"epochs": 4, "batch_size": 8, "device": "cpu", "lr": 0.01, **changes})


def make_run(**changes: Any) -> Run:
    """Return a run that writes nothing unless told where."""
    return Run(**{"classes": CLASSES, "checkpoint_seconds": 0.0, **changes})


def ctrl_c_at(event: Any) -> Callable[[Any, Run], None]:
    """Return what attaches Ctrl-C to an event of a trainer; to one ``(once=N)``, at the Nth."""

    def attach(trainer: Any, _run: Run) -> None:
        @trainer.on(event)
        def _press(_engine: Any) -> None:
            raise KeyboardInterrupt

    return attach


@pytest.fixture
def average() -> Callable[[], nn.Module]:
    """Make the decision average."""
    return lambda: AverageFusion(len(DIMS), len(CLASSES))
