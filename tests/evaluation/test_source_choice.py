from __future__ import annotations

import numpy as np
import pytest

from medfuse.evaluation.feature_kernel import FeatureKernel
from medfuse.evaluation.similarity import similarities
from medfuse.evaluation.source_choice import choose_sources
from medfuse.evaluation.source_order import RankingCases

LABELS = np.arange(160) % 4
CASES = RankingCases(LABELS, np.arange(160))


@pytest.fixture(scope="module")
def kernels() -> list[FeatureKernel]:
    """A source for classes 0 and 1, a near copy of it, one for 2 and 3, and noise."""
    rng = np.random.default_rng(0)

    def seeing(*classes: int) -> np.ndarray:
        means = rng.normal(size=(4, 30)) * np.isin(np.arange(4), classes)[:, None]
        return 0.9 * means[LABELS] + rng.normal(size=(160, 30))

    first = seeing(0, 1)
    copy = first + 0.05 * rng.normal(size=first.shape)
    return [FeatureKernel.of(x) for x in (first, copy, 0.8 * seeing(2, 3), seeing())]


@pytest.mark.slow
def test_an_unlike_source_is_taken_before_a_copy_of_the_best(kernels: list[FeatureKernel]) -> None:
    steps = choose_sources(kernels, CASES, similarities(kernels), first=0, most=2)
    assert [step.index for step in steps] == [0, 2]
    assert steps[1].gain == pytest.approx(steps[1].auroc - steps[0].auroc)
    assert steps[1].gain > 0.03
    assert steps[1].similarity < 0.3
    assert steps[1].helps > 0.9


@pytest.mark.slow
def test_choosing_ends_where_nothing_is_gained(kernels: list[FeatureKernel]) -> None:
    steps = choose_sources(kernels, CASES, similarities(kernels), first=0, most=4)
    assert len(steps) < 4
    assert all(step.gain > 0 and step.helps > 0.5 for step in steps[1:])
    assert 3 not in [step.index for step in steps]


def test_one_source_is_chosen_where_one_is_asked_for(kernels: list[FeatureKernel]) -> None:
    (step,) = choose_sources(kernels, CASES, similarities(kernels), first=2, most=1)
    assert (step.index, step.gain, step.helps, step.similarity) == (2, 0.0, 1.0, 0.0)
