"""AUROC of predictions out of fold: averaged over the folds, with its error by patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from medfuse.errors import EvaluationError
from medfuse.evaluation.label_predictions import UNKNOWN, LabelPredictions
from medfuse.evaluation.paired import Difference, normal_difference, placements_of
from medfuse.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

TEST = "DeLong within folds, by patient"


@dataclass(frozen=True, eq=False)
class FoldArea:
    """The macro AUROC over folds.

    Attributes:
        value: mean over the classes, or labels, of the mean over the folds.
        by_fold: macro AUROC in each fold, ``(V,)``; NaN where a class is absent. Of several labels
            it is of those of which the fold has both answers.
        influence: by how much each patient moves ``value``, ``(P,)``; the sum of squares is its
            variance.
    """

    value: float
    by_fold: Floats
    influence: Floats

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the normal interval of ``value``, within [0, 1]."""
        half = float(ndtri((1 + confidence) / 2) * np.sqrt((self.influence**2).sum()))
        return max(0.0, self.value - half), min(1.0, self.value + half)


def fold_area(predictions: Predictions | LabelPredictions, folds: NDArray[np.int64]) -> FoldArea:
    """Return the AUROC of each class against the rest, averaged over folds, then over classes.

    Of several labels it is that of each label against its absence, on the cases whose answer is
    known, averaged over the labels of `measured_labels`.

    Models of different folds give scores on different scales, so that cases are ranked within
    their fold only (LeDell et al., 2015, doi:10.1214/15-EJS1035). The error is DeLong's
    (doi:10.2307/2531595), whose contrasts may combine any number of areas: each case's placements
    are added up by patient (Obuchowski, 1997, doi:10.2307/2533958) over classes and folds. It is
    that of new cases for the models at hand, not of models trained on other cases. With one fold
    and one case a patient of two classes it is DeLong's variance itself; elsewhere the factor
    n / (n - folds) of the patients with positive, and of those with negative cases stands in
    for his n / (n - 1).

    Args:
        predictions: out of fold.
        folds: fold of each case ``(N,)``; a patient's cases lie in one.

    Raises:
        EvaluationError: a patient has cases in several folds.
    """
    patient = predictions.patient_index
    numbers, fold = np.unique(folds, return_inverse=True)
    _require_whole_patients(patient, fold)
    several = isinstance(predictions, LabelPredictions)
    averaged = measured_labels(predictions.labels, patient, fold) if several else None
    chosen = range(len(predictions.classes)) if averaged is None else averaged
    count, classes = len(numbers), len(chosen)
    areas = np.full((count, classes), np.nan)
    influence = np.zeros(patient.max() + 1)
    for column, k in enumerate(chosen):
        cells = list(_cells(predictions, fold, k))
        for cell in cells:
            areas[cell.fold, column] = cell.area
        for sign in (True, False):
            factor = _correction(patient, cells, sign) / (len(cells) or 1) / classes
            for cell in cells:
                influence += factor * cell.deviations(patient, sign, len(influence))
    if not classes:
        return FoldArea(float("nan"), np.full(count, np.nan), influence)
    by_fold = _mean_of_defined(areas.T) if several else areas.mean(1)
    return FoldArea(float(_mean_of_defined(areas).mean()), by_fold, influence)


def measured_labels(
    answers: NDArray[np.int64], patients: NDArray[np.int64], folds: NDArray[np.int64]
) -> list[int]:
    """Return the labels whose AUROC has an error: the others are left out of the mean.

    A label is tested in the folds that have both of its answers. Over these, more patients than
    folds must have it, and more must be known not to: each fold's mean takes one.

    Args:
        answers: ``(N, L)``: 1, 0, or -1 where unknown.
        patients: patient of each case, ``(N,)``.
        folds: fold of each case, ``(N,)``.
    """
    return [k for k, column in enumerate(answers.T) if _is_measured(column, patients, folds)]


def _is_measured(
    column: NDArray[np.int64], patients: NDArray[np.int64], folds: NDArray[np.int64]
) -> bool:
    sides = [set(folds[column == answer].tolist()) for answer in (1, 0)]
    both = np.isin(folds, list(sides[0] & sides[1]))
    having = [len(np.unique(patients[both & (column == answer)])) for answer in (1, 0)]
    return min(having) > len(sides[0] & sides[1])


def area_difference(first: FoldArea, second: FoldArea, confidence: float) -> Difference:
    """Return the difference of two AUROCs on the same cases and folds, tested.

    Args:
        first: of the first classifier.
        second: of the second one.
        confidence: of the interval.
    """
    error = float(np.sqrt(((first.influence - second.influence) ** 2).sum()))
    return normal_difference((first.value, second.value), error, confidence, TEST)


def fold_p_value(first: FoldArea, second: FoldArea) -> float | None:
    """Return the p-value of the folds' differences by the corrected resampled t-test.

    It asks whether the method would gain on other training cases too, and allows for folds that
    share most of theirs (Nadeau and Bengio, 2003, doi:10.1023/A:1024068626366); with few folds it
    finds little. ``None`` with fewer than three folds or where they do not differ in their gain.
    """
    gaps = first.by_fold - second.by_fold
    count = len(gaps)
    if count < 3 or not np.isfinite(gaps).all() or gaps.std() < 1e-12:
        return None
    error = np.sqrt((1 / count + 1 / (count - 1)) * gaps.var(ddof=1))
    return float(2 * stdtr(count - 1, -abs(gaps.mean()) / error))


@dataclass(frozen=True, eq=False)
class _Cell:
    """One class against the rest in one fold: cases at ``rows``."""

    fold: int
    rows: NDArray[np.int64]
    truth: NDArray[np.bool_]
    area: float
    placements: Floats

    def deviations(self, patient: NDArray[np.int64], sign: bool, count: int) -> Floats:
        """Return the mean deviation of positive (or negative) cases' placements, by patient."""
        chosen = self.truth == sign
        values = (self.placements[chosen] - self.area) / chosen.sum()
        added: Floats = np.bincount(patient[self.rows[chosen]], values, count).astype(np.float64)
        return added


def _cells(
    predictions: Predictions | LabelPredictions, fold: NDArray[np.int64], k: int
) -> Iterator[_Cell]:
    """Yield the folds in which class ``k`` can be told from the rest, or label ``k``, at all."""
    if isinstance(predictions, LabelPredictions):
        answers = predictions.labels[:, k]
        known, positive = answers != UNKNOWN, answers == 1
    else:
        known, positive = np.ones(len(fold), dtype=bool), predictions.labels == k
    for number in range(int(fold.max()) + 1):
        rows = np.flatnonzero((fold == number) & known)
        truth = positive[rows]
        if truth.any() and not truth.all():
            areas, placements = placements_of(truth, predictions.probabilities[rows, k][None])
            yield _Cell(number, rows, truth, float(areas[0]), placements[0])


def _mean_of_defined(areas: Floats) -> Floats:
    """Return the means of the columns over what is defined; NaN where nothing is."""
    with np.errstate(invalid="ignore"):
        defined = np.isfinite(areas).sum(0)
        return np.where(defined > 0, np.nansum(areas, 0) / np.maximum(defined, 1), np.nan)


def _correction(patient: NDArray[np.int64], cells: list[_Cell], sign: bool) -> float:
    """Return the root of n / (n - folds): each fold's mean takes a degree of freedom."""
    having = sum(len(np.unique(patient[c.rows[c.truth == sign]])) for c in cells)
    return float(np.sqrt(having / (having - len(cells)))) if having > len(cells) else float("nan")


def _require_whole_patients(patient: NDArray[np.int64], fold: NDArray[np.int64]) -> None:
    pairs = np.unique(np.stack([patient, fold]), axis=1).shape[1]
    if pairs > patient.max() + 1:
        raise EvaluationError(
            f"{pairs - patient.max() - 1} patients have cases in several folds; "
            "expected all cases of a patient in one. Group the folds by patient."
        )
