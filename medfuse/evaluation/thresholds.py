"""From which probability on a label is said to hold, chosen on cases held out of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.ranking import rank

DEFAULT = 0.5
FEWEST = 10


@dataclass(frozen=True)
class LabelThreshold:
    """Where a label begins to hold.

    Attributes:
        value: probability.
        chosen_on: the cases that it was chosen on, in words; empty where it is the default.
    """

    value: float = DEFAULT
    chosen_on: str = ""


def choose_thresholds(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], chosen_on: str
) -> tuple[LabelThreshold, ...]:
    """Return the threshold of each label with the largest sensitivity + specificity.

    That sum less 1 is Youden's index (1950, doi:10.1002/1097-0142(1950)3:1<32::aid-cncr2820030106>
    3.0.co;2-3); unlike F1 it does not depend on how frequent the label is. The threshold lies
    halfway between two observed probabilities. A label with fewer than 10 cases of either answer
    keeps 0.5: such a choice would be noise.

    Args:
        labels: answers ``(N, L)``, -1 where unknown.
        probabilities: ``(N, L)`` of these cases, which were not trained on.
        chosen_on: what the cases are, in words.
    """
    return tuple(
        _chosen(column, chance, chosen_on)
        for column, chance in zip(labels.T, probabilities.T, strict=True)
    )


def _chosen(
    column: NDArray[np.int64], chance: NDArray[np.float64], chosen_on: str
) -> LabelThreshold:
    known = column >= 0
    held = column[known] == 1
    if min(held.sum(), (~held).sum()) < FEWEST:
        return LabelThreshold()
    ranking = rank(chance[known], held, np.ones((1, int(known.sum()))))
    youden = ranking.true[0] / ranking.positives[0] - ranking.false[0] / ranking.negatives[0]
    best = int(youden.argmax())
    below = ranking.thresholds[best + 1] if best + 1 < len(ranking.thresholds) else 0.0
    return LabelThreshold(float((ranking.thresholds[best] + below) / 2), chosen_on)
