"""What is minimized for several labels per case: binary cross entropies of the known answers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LabelLoss(nn.Module):
    """Binary cross entropy of log-odds, added up over the known answers, per case and label.

    Log-odds ``(N, L)``, or ``(N, S, L)`` of one head per source, whose losses are added up. The
    divisor is N L whatever is known, so that each answer weighs the same in every batch.

    Args:
        weights: ``(L,)`` factor on the loss of the positive answers of each label, or ``None``.
        smoothing: part of each answer that moves to one half, in training only (Szegedy et al.,
            2016, doi:10.1109/CVPR.2016.308).
        focal_gamma: focusing of the focal loss (Lin et al., 2017, doi:10.1109/ICCV.2017.324);
            ``None`` for cross entropy.
    """

    weights: Tensor | None

    def __init__(
        self,
        weights: Tensor | None = None,
        smoothing: float = 0.0,
        focal_gamma: float | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.smoothing = smoothing
        self.focal_gamma = focal_gamma

    def unsmoothed(self) -> LabelLoss:
        """Return the same loss without label smoothing."""
        return LabelLoss(self.weights, 0.0, self.focal_gamma)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over cases and labels, a scalar; targets are NaN where unknown."""
        if logits.ndim == 3:
            return torch.stack([self._one(x, targets) for x in logits.unbind(1)]).sum()
        return self._one(logits, targets)

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the share of each case's known answers that are right, ``(N,)``; 1 of none."""
        known = ~targets.isnan()
        wrong = ((logits > 0) != (targets >= 0.5)) & known
        return 1 - wrong.sum(1) / known.sum(1).clamp(min=1)

    def _one(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = logits.float()
        known = ~targets.isnan()
        answers = torch.where(known, targets, 0.5)
        if self.training and self.smoothing > 0:
            answers = torch.lerp(answers, torch.full_like(answers, 0.5), self.smoothing)
        parts = F.binary_cross_entropy_with_logits(
            logits, answers, pos_weight=self.weights, reduction="none"
        )
        if self.focal_gamma is not None:
            chance = logits.sigmoid()
            missed = answers * (1 - chance) + (1 - answers) * chance
            parts = parts * missed**self.focal_gamma
        return torch.where(known, parts, 0.0).mean()


def positive_weights(labels: Tensor) -> Tensor:
    """Return one weight per label ``(L,)``: its negative by its positive cases.

    Both answers then weigh the same. A label without a positive case gets 1.

    Args:
        labels: answers ``(N, L)`` of the training cases, -1 where unknown.
    """
    held, absent = (labels == 1).sum(0).float(), (labels == 0).sum(0).float()
    return torch.where((held > 0) & (absent > 0), absent / held.clamp(min=1), 1.0)
