from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import gamma

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


@pytest.mark.parametrize("count", [8, 300])
def test_no_other_temperature_is_more_probable(count: int) -> None:
    logits, labels = _cases(2.0, count)
    best = fit_temperature(logits, labels)
    prior = gamma(5, scale=1 / 4)  # of the inverse temperature: its mode is 1

    def surprise(t: float) -> float:
        likelihood = log_softmax(logits / t, axis=1)[np.arange(count), labels].sum()
        return float(-likelihood - prior.logpdf(1 / t))

    assert all(surprise(best) <= surprise(t) + 1e-6 for t in np.geomspace(0.1, 10, 200))


def test_a_handful_of_cases_classified_well_is_no_reason_for_certainty() -> None:
    """Without a prior the temperature would fall to its lowest bound."""
    assert 0.6 < fit_temperature(np.eye(2) * 5, np.array([0, 1])) < 1


def test_many_perfect_predictions_stay_within_the_bounds() -> None:
    labels = np.arange(100000) % 2
    assert 0.05 <= fit_temperature(np.eye(2)[labels] * 0.05, labels) < 0.06


@pytest.mark.parametrize("logits", [np.zeros((0, 2)), np.array([[np.nan, 1.0]])])
def test_unusable_logits_are_refused(logits: np.ndarray) -> None:
    with pytest.raises(TrainingError, match="finite logits of at least one case"):
        fit_temperature(logits, np.zeros(len(logits), int))
