"""Put sources in order by several measures of their features, with the certainty of each place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medfuse.errors import EvaluationError
from medfuse.evaluation.feature_kernel import FeatureKernel, Floats, Rows, Spectrum
from medfuse.evaluation.midranks import midranks
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
        labels: class of each case, ``(N,)``, integers from 0; of several labels per case, what
            parts of the cases are to be alike in.
        groups: cases of one patient, or of one picture, share a number, ``(N,)``.
        seed: of folds and half-samples.
        answers: of several labels per case, ``(N, L)`` of 1, 0, and -1 where unknown.
    """

    labels: Rows
    groups: Rows
    seed: int = 0
    answers: Rows | None = None

    @classmethod
    def of_labels(cls, answers: Rows, groups: Rows, seed: int = 0) -> RankingCases:
        """Return cases of several labels; parts of them are alike in the rarest that each has."""
        held = answers == 1
        rarity = np.where(held, -held.sum(0), -len(answers) - 1)
        rarest = np.where(held.any(1), rarity.argmax(1) + 1, 0)
        return cls(rarest, groups, seed, answers)

    def only(self, rows: Rows) -> RankingCases:
        """Return some of the cases."""
        answers = None if self.answers is None else self.answers[rows]
        return RankingCases(self.labels[rows], self.groups[rows], self.seed, answers)

    def questions(self) -> list[tuple[Rows, RankingCases]]:
        """Return what the features are asked: the class, or each label where it is known.

        Each question has the rows of its cases, whose ``labels`` are its answers. Of several
        labels, one of which only one answer occurs is not asked.
        """
        if self.answers is None:
            return [(np.arange(len(self.labels)), self)]
        found = []
        for column in self.answers.T:
            rows = np.flatnonzero(column >= 0)
            if len(np.unique(column[rows])) == 2:
                found.append((rows, RankingCases(column[rows], self.groups[rows], self.seed)))
        return found

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
        EvaluationError: naming the class, or the answer of a label, with too few patients.
    """
    for index, name in enumerate(classes):
        chosen = {f"class {name!r} has": cases.labels == index}
        if cases.answers is not None:
            column, said = cases.answers[:, index], f"label {name!r}"
            chosen = {f"{said} holds in": column == 1, f"{said} is absent in": column == 0}
        for what, rows in chosen.items():
            _require_patients(what, len(np.unique(cases.groups[rows])))


def _require_patients(what: str, found: int) -> None:
    if found < FEWEST:
        kind, name, *_ = what.split(" ")
        raise EvaluationError(
            f"{what} cases of {found} patient{'s' * (found != 1)} to learn from, ranking sources "
            f"needs at least {FEWEST}. Add cases, or leave the {kind} {name} out."
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
    """Return each of `MEASURES` ``(S,)`` of S sources on the same cases and folds.

    Of several labels per case it is the mean over the labels.
    """
    found = []
    for rows, asked in cases.questions():
        folds = asked.folds()
        found.append([_measured(part_of(kernel, rows), asked, folds) for kernel in kernels])
    values = np.mean(found, axis=0) if found else np.full((len(kernels), len(MEASURES)), np.nan)
    return {name: values[:, i] for i, name in enumerate(MEASURES)}


def part_of(kernel: FeatureKernel, rows: Rows) -> FeatureKernel:
    """Return a kernel of the cases at ``rows``; itself where these are all."""
    return kernel if len(rows) == len(kernel) else kernel.only(rows)


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
    ranks = [midranks(-np.nan_to_num(values[name], nan=-np.inf)) for name in MEASURES]
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
