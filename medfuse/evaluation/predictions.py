"""Labels and probabilities of labeled cases, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medfuse.errors import EvaluationError

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Predictions:
    """The probabilities of N labeled cases for K classes, with what groups the cases.

    Attributes:
        labels: true class of each case, ``(N,)`` integers from 0 to K - 1. Cases without a
            label are left out by the caller.
        probabilities: ``(N, K)`` in [0, 1]; rows sum to 1.
        classes: K names. With two classes the last one is the positive class.
        patients: one value per case; cases of one patient are resampled together. Empty if
            every case is a patient of its own.
        groups: further columns to report by, for example ``{"site": [...]}``.

    Raises:
        EvaluationError: no case, a shape that does not fit, a label outside the classes, or a
            row that is not a probability distribution.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    classes: Sequence[str]
    patients: Sequence[Any] = ()
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "classes", tuple(self.classes))
        put(self, "probabilities", _checked_rows(self.probabilities, self.classes))
        put(self, "labels", _checked_labels(self.labels, len(self.classes)))
        check_columns(len(self), self.patients, {"labels": self.labels, **self.groups})

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each case, ``(N,)``; the first one of a tie."""
        return np.asarray(self.probabilities.argmax(1))

    @property
    def patient_index(self) -> NDArray[np.int64]:
        """The patient of each case as an integer from 0, ``(N,)``."""
        return numbered(self.patients, len(self))

    def only(self, rows: NDArray[np.bool_]) -> Predictions:
        """Return the cases where ``rows`` is true, without their groups."""
        patients = [p for p, kept in zip(self.patients, rows, strict=False) if kept]
        return Predictions(self.labels[rows], self.probabilities[rows], self.classes, patients)


def check_columns(cases: int, patients: Sequence[Any], others: Mapping[str, Sized]) -> None:
    """Accept columns of one value per case; ``patients`` may be empty.

    Raises:
        EvaluationError: a column of another length.
    """
    columns: dict[str, Sized] = {"patients": patients if len(patients) else range(cases), **others}
    for name, column in columns.items():
        if len(column) != cases:
            raise EvaluationError(
                f"{name} has {len(column)} values, expected {cases}: one per case."
            )


def numbered(patients: Sequence[Any], cases: int) -> NDArray[np.int64]:
    """Return the patient of each case as an integer from 0; each case its own if none is given."""
    if len(patients) == 0:
        return np.arange(cases)
    names = np.asarray([str(value) for value in patients])
    return np.unique(names, return_inverse=True)[1].reshape(-1)


def _checked_rows(values: ArrayLike, classes: Sequence[str]) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(classes) or len(set(classes)) < 2:
        raise EvaluationError(
            f"probabilities have shape {rows.shape}, expected (cases, {len(classes)}) for the "
            f"classes {', '.join(map(str, classes)) or '(none)'}; at least two distinct ones."
        )
    if len(rows) == 0:
        raise EvaluationError("there is no labeled case to measure on. Label some test cases.")
    wrong = ~np.isfinite(rows).all(1) | (rows < 0).any(1)
    wrong |= np.abs(rows.sum(1) - 1) > _SUM_TOLERANCE
    if wrong.any():
        first = int(wrong.argmax())
        raise EvaluationError(
            f"row {first} holds {rows[first].tolist()}, expected probabilities that sum to 1 "
            f"({int(wrong.sum())} of {len(rows)} rows are wrong). Did training diverge?"
        )
    return rows


def _checked_labels(values: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    given = np.asarray(values)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise EvaluationError(
            f"labels are {given.dtype} of shape {given.shape}, expected one integer per case. "
            "Leave out unlabeled cases first."
        )
    if len(given) and (given.min() < 0 or given.max() >= num_classes):
        raise EvaluationError(
            f"labels run from {given.min()} to {given.max()}, expected 0 to {num_classes - 1}."
        )
    return given.astype(np.int64)
