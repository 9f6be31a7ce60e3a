"""Random predictions for every test of the evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from medfuse.evaluation import Predictions


def _predictions(
    cases: int = 120, classes: int = 3, seed: int = 0, per_patient: int = 1, signal: float = 1.5
) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, cases)
    logits = rng.normal(size=(cases, classes)) + signal * np.eye(classes)[labels]
    chances = np.exp(logits)
    chances /= chances.sum(1, keepdims=True)
    patients = [f"patient{i // per_patient}" for i in range(cases)] if per_patient > 1 else []
    return Predictions(labels, chances, [f"class{k}" for k in range(classes)], patients)


@pytest.fixture(scope="session")
def sample():
    """Return the maker of random predictions."""
    return _predictions
