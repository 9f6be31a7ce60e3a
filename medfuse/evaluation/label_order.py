"""An order of patients in which any first ones have several labels in proportion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def evenly_labeled(answers: Rows, groups: Rows, rng: np.random.Generator) -> Rows:
    """Return positions of patients, in the order of their numbers, so that all labels are spread.

    The patients are halved, each half again, and so on; the first half goes first. One by one, in
    random order, they join the half that leaves the answers more even: minimization, as trials
    allocate their patients (Pocock and Simon, 1975, doi:10.2307/2529712), here of the squared
    differences of both answers of each label and of the number of cases, each relative to its
    total, so that a rare answer counts as much as a frequent one.

    Args:
        answers: ``(N, L)``: 1, 0, or -1 where unknown.
        groups: patient of each case, ``(N,)``.
        rng: draws the random orders.
    """
    ids, index = np.unique(groups, return_inverse=True)
    counted = np.hstack([answers == 1, answers == 0, np.ones((len(answers), 1), dtype=bool)])
    counts = np.zeros((len(ids), counted.shape[1]))
    np.add.at(counts, index.reshape(-1), counted)
    # Products of these are then differences relative to the total, squared.
    scaled = counts / np.sqrt(np.maximum(counts.sum(0), 1))
    return _halved(np.arange(len(ids)), scaled, rng)


def _halved(patients: Rows, scaled: NDArray[np.float64], rng: np.random.Generator) -> Rows:
    if len(patients) < 2:
        return patients
    gap = np.zeros(scaled.shape[1])
    halves: tuple[list[int], list[int]] = ([], [])
    for patient in rng.permutation(patients).tolist():
        lean = float(gap @ scaled[patient])
        second = lean > 1e-12 or (abs(lean) <= 1e-12 and bool(rng.integers(2)))
        halves[second].append(patient)
        gap += -scaled[patient] if second else scaled[patient]
    parts = [_halved(np.array(half, dtype=np.int64), scaled, rng) for half in halves]
    return np.concatenate(parts)
