"""Paired tests: two classifiers on the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, gammaln, ndtr, ndtri

from medfuse.errors import EvaluationError
from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.metrics import resampled_scores
from medfuse.evaluation.midranks import midranks
from medfuse.evaluation.plugin_metrics import Metric, metric_values
from medfuse.evaluation.predictions import Predictions
from medfuse.evaluation.resampling import percentile_interval
from medfuse.evaluation.scores import OVERALL
from medfuse.evaluation.settings import EvaluationSettings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """What the first classifier has over the second, with its interval and two-sided p-value.

    Attributes:
        first: value of the first classifier.
        second: value of the second classifier.
        difference: first minus second.
        low: lower end of the interval; ``None`` where it is undefined.
        high: upper end of the interval.
        p_value: two-sided, of no difference; ``None`` where it is undefined.
        test: how it was tested.
    """

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    test: str


@dataclass(frozen=True)
class McNemar:
    """Discordant cases of two classifiers, and whether they lean to one side.

    Attributes:
        only_first: cases that only the first has right.
        only_second: cases that only the second has right.
        p_exact: two-sided exact binomial p-value.
        p_mid: mid-p value, less conservative and the one to read for few discordant cases.
    """

    only_first: int
    only_second: int
    p_exact: float
    p_mid: float


def delong(
    positive: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    patients: ArrayLike = (),
    confidence: float = 0.95,
) -> Difference:
    """Return the difference of two correlated AUROCs by DeLong's test.

    DeLong et al., 1988, doi:10.2307/2531595, with the midranks of Sun and Xu, 2014,
    doi:10.1109/LSP.2014.2337313. Several cases of one patient are correlated; their
    contributions are summed by patient (Obuchowski, 1997, doi:10.2307/2533958), which is
    DeLong's variance where every patient has one case.

    Args:
        positive: whether each case has the disease, ``(N,)``.
        first: scores of the first classifier, ``(N,)``; higher means disease.
        second: scores of the second classifier.
        patients: patient of each case; empty if every case is a patient of its own.
        confidence: of the interval.

    Raises:
        EvaluationError: fewer than two positive or two negative cases.
    """
    truth, scores = np.asarray(positive, dtype=bool), np.asarray([first, second], dtype=float)
    if min(truth.sum(), (~truth).sum()) < 2:
        raise EvaluationError(
            f"found {truth.sum()} positive and {(~truth).sum()} negative cases, expected two "
            "of each for DeLong's test."
        )
    areas, placements = placements_of(truth, scores)
    covariance = _covariance(truth, areas, placements, _cluster_index(patients, len(truth)))
    error = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    test = "DeLong" if np.size(patients) == 0 else "DeLong, clustered by patient"
    return normal_difference((float(areas[0]), float(areas[1])), error, confidence, test)


def normal_difference(
    values: tuple[float, float], error: float, confidence: float, test: str
) -> Difference:
    """Return the difference of two values by the normal distribution.

    Args:
        values: of the first and of the second classifier.
        error: standard error of their difference.
        confidence: of the interval.
        test: how the error was found.
    """
    gap = values[0] - values[1]
    if not error >= 1e-12:
        same = gap == 0 and not np.isnan(error)
        return Difference(*values, gap, None, None, 1.0 if same else None, test)
    half = error * float(ndtri((1 + confidence) / 2))
    p_value = float(2 * ndtr(-abs(gap) / error))
    return Difference(*values, gap, gap - half, gap + half, p_value, test)


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> McNemar:
    """Return McNemar's test of two accuracies on the same independent cases.

    Exact two-sided binomial and mid-p (McNemar, 1947, doi:10.1007/BF02295996; Fagerland et
    al., 2013, doi:10.1186/1471-2288-13-91). With several cases per patient use
    `bootstrap_difference`.
    """
    first, second = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    total, fewer = only_first + only_second, min(only_first, only_second)
    if total == 0:
        return McNemar(0, 0, 1.0, 1.0)
    tail, point = float(bdtr(fewer, total, 0.5)), _coin_flips(fewer, total)
    exact = min(1.0, 2 * tail)
    mid = 1 - point if only_first == only_second else 2 * tail - point
    return McNemar(only_first, only_second, exact, mid)


def _coin_flips(heads: int, total: int) -> float:
    """Return the chance of so many heads among ``total`` flips of a fair coin."""
    ways = gammaln(total + 1) - gammaln(heads + 1) - gammaln(total - heads + 1)
    return float(np.exp(ways - total * np.log(2)))


def bootstrap_difference(
    first: Predictions,
    second: Predictions,
    metric: str | Metric,
    settings: EvaluationSettings | None = None,
) -> Difference:
    """Return the difference of any metric, both classifiers resampled by the same patients.

    The p-value inverts the percentile interval: twice the smaller share of resampled
    differences on one side of zero, with one added to both counts (Davison and Hinkley, 1997,
    doi:10.1017/CBO9780511802843), so that it is never 0.

    Args:
        first: predictions of the first classifier.
        second: predictions of the second one on the same cases in the same order.
        metric: name under ``overall`` in `evaluate`, or a callable on (labels, probabilities).
        settings: resamples, seed and confidence.

    Raises:
        EvaluationError: the two do not have the same cases, or the metric is unknown.
    """
    settings = settings or EvaluationSettings()
    check_same_cases(first, second)
    values = [_values(predictions, metric, settings) for predictions in (first, second)]
    return difference_of(values[0], values[1], settings)


def difference_of(first: Floats, second: Floats, settings: EvaluationSettings) -> Difference:
    """Return the difference of a metric, given ``(1 + resamples,)`` values of each classifier."""
    gaps = first - second
    test = "bootstrap by patient"
    finite = gaps[1:][np.isfinite(gaps[1:])]
    interval = percentile_interval(gaps[1:], settings.confidence)
    if interval is None:
        return Difference(float(first[0]), float(second[0]), float(gaps[0]), None, None, None, test)
    below, above = int((finite <= 0).sum()), int((finite >= 0).sum())
    p_value = min(1.0, 2 * (1 + min(below, above)) / (1 + len(finite)))
    return Difference(float(first[0]), float(second[0]), float(gaps[0]), *interval, p_value, test)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the order given.

    Holm's step-down method (Holm, 1979, https://www.jstor.org/stable/4615733); it controls the
    chance of any false claim among them without assuming independence.
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return [float(value) for value in adjusted]


def check_same_cases(
    first: Predictions | LabelPredictions, second: Predictions | LabelPredictions
) -> None:
    """Accept two predictions of the same cases.

    Raises:
        EvaluationError: number, labels, classes or patients differ.
    """
    same = (
        len(first) == len(second)
        and first.classes == second.classes
        and np.array_equal(first.labels, second.labels)
        and np.array_equal(first.patient_index, second.patient_index)
    )
    if not same:
        raise EvaluationError(
            f"a paired test got predictions of {len(first)} and {len(second)} cases that differ "
            "in their labels, classes, patients or order; expected the same cases twice."
        )


def _values(predictions: Predictions, metric: str | Metric, settings: EvaluationSettings) -> Floats:
    if not isinstance(metric, str):
        return metric_values(metric, predictions, settings)[0]
    table = resampled_scores(predictions, settings)
    if (metric, OVERALL) not in table:
        known = ", ".join(name for name, index in table if index == OVERALL)
        raise EvaluationError(f"unknown metric {metric!r}, expected one of: {known}.")
    return table[metric, OVERALL]


def placements_of(truth: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Return AUROCs ``(S,)`` of scores ``(S, N)``, and each case's placement ``(S, N)``: its share
    of opposite cases that it is ordered rightly to.
    """
    placements = np.empty_like(scores)
    for row, values in zip(placements, scores, strict=True):
        ranks = midranks(values)
        for group, others in ((truth, ~truth), (~truth, truth)):
            row[group] = (ranks[group] - midranks(values[group])) / others.sum()
    placements[:, ~truth] = 1 - placements[:, ~truth]
    return placements[:, truth].mean(1), placements


def _covariance(
    truth: NDArray[np.bool_], areas: Floats, placements: Floats, cluster: NDArray[np.int64]
) -> Floats:
    deviations = placements - areas[:, None]
    with_true, with_false = np.unique(cluster[truth]), np.unique(cluster[~truth])
    clusters, positives, negatives = cluster.max() + 1, truth.sum(), (~truth).sum()
    true = _sums(deviations * truth, cluster)
    false = _sums(deviations * ~truth, cluster)
    covariance = true @ true.T * _correction(len(with_true)) / positives**2
    covariance += false @ false.T * _correction(len(with_false)) / negatives**2
    cross = true @ false.T * _correction(clusters) / (positives * negatives)
    return np.asarray(covariance + cross + cross.T)


def _sums(values: Floats, cluster: NDArray[np.int64]) -> Floats:
    return np.stack([np.bincount(cluster, row, cluster.max() + 1) for row in values])


def _correction(count: int) -> float:
    return count / (count - 1) if count > 1 else float("nan")


def _cluster_index(patients: ArrayLike, count: int) -> NDArray[np.int64]:
    if np.size(patients) == 0:
        return np.arange(count)
    return np.unique(np.asarray(patients), return_inverse=True)[1].reshape(-1)
