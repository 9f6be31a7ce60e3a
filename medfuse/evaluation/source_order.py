"""Put sources in order by several measures of their features, with the certainty of each place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from medfuse.errors import EvaluationError
from medfuse.evaluation.feature_kernel import FeatureKernel, Floats, Rows, Spectrum
from medfuse.evaluation.transferability import (
    h_score,
    log_evidence,
    neighbor_accuracy,
    probe_auroc,
)

MEASURES = ("logme", "h_score", "neighbors", "probe")
FEWEST = 4
"""Patients that each class needs."""

_SHARES = ("neighbors", "probe")
_FOLDS = 5
_HALVES = 20
_Z = 1.96


@dataclass(frozen=True, eq=False)
class RankingCases:
    """The cases that sources are ranked on.

    Attributes:
        labels: class of each case, ``(N,)``, integers from 0.
        groups: cases of one patient, or of one picture, share a number, ``(N,)``.
        seed: of folds and half-samples.
    """

    labels: Rows
    groups: Rows
    seed: int = 0

    def only(self, rows: Rows) -> RankingCases:
        """Return some of the cases."""
        return RankingCases(self.labels[rows], self.groups[rows], self.seed)

    def folds(self) -> list[Rows]:
        """Return the rows of up to 5 folds: a group is in one fold, classes are spread."""
        return divided(self, min(_FOLDS, _fewest_groups(self)), self.seed)

    def halves(self) -> Iterator[Rows]:
        """Yield the rows of 20 half-samples of the groups, classes spread."""
        for number in range(_HALVES // 2):
            yield from divided(self, 2, self.seed + 1 + number)


@dataclass(frozen=True, eq=False)
class SourceOrder:
    """Measures of S sources, and their places.

    Attributes:
        values: each measure ``(S,)``; NaN where it has none.
        errors: standard error of each measure ``(S,)``.
        scores: mean rank over the measures, 1 is best, ``(S,)``.
        places: 1 to S by ``scores``; the probe decides between equals, ``(S,)``.
        low: a place that is seldom passed upward: the 5th percentile, ``(S,)``.
        high: one that is seldom passed downward: the 95th percentile, ``(S,)``.
    """

    values: Mapping[str, Floats]
    errors: Mapping[str, Floats]
    scores: Floats
    places: Rows
    low: Rows
    high: Rows


def check_cases(cases: RankingCases, classes: Sequence[str]) -> None:
    """Refuse cases that no order can be told from.

    Raises:
        EvaluationError: naming the class with too few patients.
    """
    for index, name in enumerate(classes):
        found = len(np.unique(cases.groups[cases.labels == index]))
        if found < FEWEST:
            raise EvaluationError(
                f"class {name!r} has cases of {found} patient{'s' * (found != 1)} to learn from, "
                f"ranking sources needs at least {FEWEST} of each class. Add cases, or leave the "
                "class out."
            )


def order_sources(kernels: Sequence[FeatureKernel], cases: RankingCases) -> SourceOrder:
    """Return the order of sources by the mean of their ranks in `MEASURES`, best first.

    No measure weighs more than another, and nothing is fitted. Everything is repeated on 20 half
    samples of the patients: the standard deviation of a measure over them estimates its standard
    error on all cases (the delete-half jackknife; Shao and Wu, 1989, doi:10.1214/aos/1176347263),
    and all sources share the half samples, so that their places compare.

    Args:
        kernels: of the same cases, one for each source.
        cases: their labels and groups.
    """
    values = measure_sources(kernels, cases)
    halves = []
    for rows in cases.halves():
        parts = [kernel.only(rows) for kernel in kernels]
        halves.append(measure_sources(parts, cases.only(rows)))
    places = np.array([_places(half) for half in halves])
    return SourceOrder(
        values=values,
        errors={name: np.std([half[name] for half in halves], axis=0) for name in MEASURES},
        scores=_mean_rank(values),
        places=_places(values),
        low=np.percentile(places, 5, axis=0, method="nearest").astype(np.int64),
        high=np.percentile(places, 95, axis=0, method="nearest").astype(np.int64),
    )


def measure_sources(kernels: Sequence[FeatureKernel], cases: RankingCases) -> dict[str, Floats]:
    """Return each of `MEASURES` ``(S,)`` of S sources on the same cases and folds."""
    folds = cases.folds()
    rows = [_measured(kernel, cases, folds) for kernel in kernels]
    return {name: np.array([row[i] for row in rows]) for i, name in enumerate(MEASURES)}


def interval(measure: str, value: float, error: float) -> tuple[float, float]:
    """Return the 95 % interval of a measure with a standard error; a share stays in [0, 1]."""
    low, high = value - _Z * error, value + _Z * error
    return (max(low, 0.0), min(high, 1.0)) if measure in _SHARES else (low, high)


def _measured(
    kernel: FeatureKernel, cases: RankingCases, folds: Sequence[Rows]
) -> tuple[float, ...]:
    spectrum = Spectrum.of(kernel)
    evidence, ridge = log_evidence(spectrum, cases.labels)
    return (
        evidence,
        h_score(kernel, spectrum, cases.labels),
        neighbor_accuracy(kernel, cases.labels, cases.groups),
        probe_auroc(kernel, cases.labels, folds, ridge),
    )


def _mean_rank(values: Mapping[str, Floats]) -> Floats:
    ranks = [rankdata(-np.nan_to_num(values[name], nan=-np.inf)) for name in MEASURES]
    means: Floats = np.mean(ranks, axis=0)
    return means


def _places(values: Mapping[str, Floats]) -> Rows:
    scores = _mean_rank(values)
    order = np.lexsort((-np.nan_to_num(values["probe"], nan=-np.inf), scores))
    places = np.empty(len(scores), dtype=np.int64)
    places[order] = np.arange(1, len(scores) + 1)
    return places


def _fewest_groups(cases: RankingCases) -> int:
    counts = [len(np.unique(cases.groups[cases.labels == k])) for k in np.unique(cases.labels)]
    return max(2, min(counts))


def divided(cases: RankingCases, parts: int, seed: int) -> list[Rows]:
    """Return the rows of each part; a group lies in one, classes are spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer cases than parts is fine here: some parts lack it.
        warnings.filterwarnings("ignore", message="The least populated class")
        found = splitter.split(np.zeros(len(cases.labels)), cases.labels, cases.groups)
        return [np.asarray(rows, dtype=np.int64) for _, rows in found]
