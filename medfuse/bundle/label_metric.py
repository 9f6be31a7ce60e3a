"""How right several labels per case are. Copied into bundles: torch and MONAI only.

MONAI's and Ignite's metrics have no place for an answer that is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.metrics.metric import CumulativeIterationMetric
from monai.metrics.rocauc import compute_roc_auc
from torch import Tensor

MEASURES = ("accuracy", "auroc", "sensitivity", "precision", "f1")


class LabelMetric(CumulativeIterationMetric):
    """One number of the known answers to L labels, by `medfuse evaluate`'s definitions.

    ``accuracy`` is the share of known answers that are right. The others are means over the labels
    of which both answers occur; NaN if there are none, or one is never said and has no precision.

    Args:
        measure: one of `MEASURES`.
        thresholds: probability from which on each label is said to hold; 0.5 each if ``None``.
    """

    def __init__(self, measure: str, thresholds: Sequence[float] | None = None) -> None:
        super().__init__()
        if measure not in MEASURES:
            raise ValueError(f"measure: found {measure!r}, expected one of {', '.join(MEASURES)}.")
        self.measure = measure
        self.thresholds = thresholds

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return y_pred, y

    def aggregate(self) -> float:
        """Return the number, of the cases of all processes."""
        # a threshold may be the very probability of a case, which float32 would round away
        kept = self.get_buffer()  # type: ignore[no-untyped-call]
        chances, answers = (x.cpu().double().as_subclass(Tensor) for x in kept)
        limits = self.thresholds or [0.5] * chances.shape[1]
        said, known = chances >= torch.tensor(limits, dtype=torch.float64), ~answers.isnan()
        if self.measure == "accuracy":
            return float((said == (answers == 1))[known].float().mean())
        measured = [
            self._of_label(*(x[rows, label] for x in (chances, said, answers)))
            for label, rows in enumerate(known.T)
            if {0.0, 1.0} <= set(answers[rows, label].tolist())
        ]
        return sum(measured) / len(measured) if measured else float("nan")

    def _of_label(self, chances: Tensor, said: Tensor, answers: Tensor) -> float:
        """Return the measure of one label, ``(N,)`` each, all known."""
        if self.measure == "auroc":
            return float(compute_roc_auc(chances, answers))  # type: ignore[arg-type]
        holds = answers == 1
        hits = float((said & holds).sum())
        if self.measure == "sensitivity":
            return hits / float(holds.sum())
        if self.measure == "precision":
            return hits / float(said.sum()) if said.any() else float("nan")
        return 2 * hits / float(said.sum() + holds.sum())
