"""Answers and probabilities of several labels per case, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import EvaluationError
from medfuse.evaluation.predictions import Predictions, check_columns, numbered

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class LabelPredictions:
    """The probabilities of N cases for L labels, none of which excludes another.

    Attributes:
        labels: true answers ``(N, L)``: 1, 0, or -1 where unknown; unknown ones are left out of
            every metric. Each case has one that is known.
        probabilities: ``(N, L)`` in [0, 1].
        classes: L names.
        patients: one value per case, as in `Predictions`.
        groups: further columns to report by.
        thresholds: ``(L,)`` probability from which on a label is said to hold; 0.5 where none is
            given. An array ``(N, L)`` where the cases were asked of several models, each with
            thresholds of its own.

    Raises:
        EvaluationError: no case, a shape that does not fit, or a value that is no answer or
            probability.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    classes: Sequence[str]
    patients: Sequence[Any] = ()
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    thresholds: Sequence[float] | NDArray[np.float64] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "classes", tuple(self.classes))
        put(self, "labels", np.asarray(self.labels, dtype=np.int64))
        put(self, "probabilities", np.asarray(self.probabilities, dtype=np.float64))
        if not self.thresholds_differ:
            put(self, "thresholds", tuple(self.thresholds) or (0.5,) * len(self.classes))
        _check(self)

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which answers are known, ``(N, L)``."""
        return np.asarray(self.labels != UNKNOWN)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The answers that the model gives, ``(N, L)`` of 1 and 0."""
        return np.asarray(self.probabilities >= np.asarray(self.thresholds), dtype=np.int64)

    @property
    def thresholds_differ(self) -> bool:
        """Each case has thresholds of its own."""
        return np.ndim(self.thresholds) == 2

    @property
    def patient_index(self) -> NDArray[np.int64]:
        """The patient of each case as an integer from 0, ``(N,)``."""
        return numbered(self.patients, len(self))

    @property
    def measurable(self) -> NDArray[np.bool_]:
        """Of which labels both answers occur, ``(L,)``; means over labels are of these."""
        return np.asarray((self.labels == 1).any(0) & (self.labels == 0).any(0))

    def only(self, rows: NDArray[np.bool_]) -> LabelPredictions:
        """Return the cases where ``rows`` is true, without their groups."""
        patients = [p for p, kept in zip(self.patients, rows, strict=False) if kept]
        return LabelPredictions(
            self.labels[rows],
            self.probabilities[rows],
            self.classes,
            patients,
            thresholds=np.asarray(self.thresholds)[rows]
            if self.thresholds_differ
            else self.thresholds,
        )

    def of_label(self, index: int) -> Predictions:
        """Return one label as two classes, on the cases where it is known; the label is last."""
        rows, name = self.known[:, index], self.classes[index]
        chance = self.probabilities[rows, index]
        patients = [p for p, kept in zip(self.patients, rows, strict=False) if kept]
        pair = np.stack([1 - chance, chance], axis=1)
        return Predictions(self.labels[rows, index], pair, (f"not {name}", name), patients)


def _check(given: LabelPredictions) -> None:
    shape = (len(given.probabilities), len(given.classes))
    if given.probabilities.shape != shape or given.labels.shape != shape:
        raise EvaluationError(
            f"probabilities have shape {given.probabilities.shape} and labels "
            f"{given.labels.shape}, expected (cases, {len(given.classes)}) for both."
        )
    if len(given) == 0:
        raise EvaluationError("there is no labeled case to measure on. Label some test cases.")
    wrong = ~((given.probabilities >= 0) & (given.probabilities <= 1)).all(1)
    if wrong.any():
        first = int(wrong.argmax())
        raise EvaluationError(
            f"row {first} holds {given.probabilities[first].tolist()}, expected probabilities "
            f"between 0 and 1 ({int(wrong.sum())} of {len(given)} rows are wrong). Did training "
            "diverge?"
        )
    if not np.isin(given.labels, (0, 1, UNKNOWN)).all() or not given.known.any(1).all():
        raise EvaluationError(
            "labels hold something else than 1, 0 and -1, or a case of which nothing is known. "
            "Leave out unlabeled cases first."
        )
    check_columns(len(given), given.patients, given.groups)
    limits = np.shape(given.thresholds)
    if limits not in ((len(given.classes),), shape):
        raise EvaluationError(
            f"thresholds has shape {limits}, expected {len(given.classes)}: one per label."
        )
