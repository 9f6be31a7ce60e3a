from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from medfuse.errors import TrainingError
from medfuse.training.calibrate import fit_temperature


def _cases(temperature: float, count: int = 20000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``temperature`` times too large, and labels drawn from the right ones."""
    numbers = np.random.default_rng(0)
    honest = numbers.normal(size=(count, 3)) * 2
    labels = (honest + numbers.gumbel(size=honest.shape)).argmax(1)
    return honest * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_logits_dishonest_is_found(temperature: float) -> None:
    assert fit_temperature(*_cases(temperature)) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    logits, labels = _cases(2.0, 300)
    best = fit_temperature(logits, labels)

    def loss(t: float) -> float:
        return -log_softmax(logits / t, axis=1)[np.arange(300), labels].mean()

    assert all(loss(best) <= loss(t) + 1e-9 for t in np.geomspace(0.1, 10, 200))


def test_perfect_predictions_stay_within_the_bounds() -> None:
    assert 0.05 <= fit_temperature(np.eye(2) * 5, np.array([0, 1])) < 0.06


@pytest.mark.parametrize("logits", [np.zeros((0, 2)), np.array([[np.nan, 1.0]])])
def test_unusable_logits_are_refused(logits: np.ndarray) -> None:
    with pytest.raises(TrainingError, match="finite logits of at least one case"):
        fit_temperature(logits, np.zeros(len(logits), int))
