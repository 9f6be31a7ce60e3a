"""What training returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

EpochRecord: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class TrainingResult:
    """How a training went; the trained module itself is changed in place.

    Attributes:
        history: one record an epoch: ``epoch``, ``lr``, ``training_loss``, ``training_accuracy``
            and, with validation cases, ``validation_loss``, ``validation_accuracy``.
        best_epoch: the epoch whose parameters were kept, counted from 1.
        stopped: ``early``, or ``epochs`` where all of them ran.
        resumed_from: the epoch of the checkpoint that the run continued, 0 for none. Not part
            of the comparison of two results.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped: str
    resumed_from: int = field(default=0, compare=False)
