"""A rising map of each class's log-odds. Copied into bundles that use it: torch alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NEVER = -1e9  # instead of -inf, which exported graphs do not all add up alike


class IsotonicCalibration(nn.Module):
    """Log-probabilities of classes, each against the rest, that are normalized by a softmax.

    The log-odds of a class go through a rising map of straight pieces, flat beyond its ends; the
    probabilities that result are divided by their sum (Zadrozny and Elkan, 2002,
    doi:10.1145/775047.775151).

    Args:
        num_classes: K.
        knots: P, between which the pieces lie; at least 2.
    """

    at: Tensor
    value: Tensor
    others: Tensor

    def __init__(self, num_classes: int, knots: int) -> None:
        super().__init__()
        line = torch.linspace(-10.0, 10.0, knots).repeat(num_classes, 1)
        self.register_buffer("at", line)
        self.register_buffer("value", line.clone())
        self.register_buffer("others", torch.eye(num_classes) * _NEVER)

    def forward(self, logits: Tensor) -> Tensor:
        """Return log-probabilities ``(N, K)``, before normalization, of logits ``(N, K)``."""
        odds = logits - (logits[:, None, :] + self.others).logsumexp(-1)
        width = self.at[:, 1:] - self.at[:, :-1]
        along = (odds[..., None] - self.at[:, :-1]) / torch.where(width > 0, width, 1.0)
        rise = self.value[:, 1:] - self.value[:, :-1]
        mapped = self.value[:, 0] + (along.clamp(0.0, 1.0) * rise).sum(-1)
        return -F.softplus(-mapped)

    def gain(self) -> float:
        """Return by how much it may enlarge a rounding of the logits."""
        width = self.at[:, 1:] - self.at[:, :-1]
        rise = self.value[:, 1:] - self.value[:, :-1]
        return 2 * float((rise / torch.where(width > 0, width, 1.0)).max())
