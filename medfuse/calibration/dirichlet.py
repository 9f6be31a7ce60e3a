"""A linear map of log-probabilities. Copied into bundles that use it: torch alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DirichletCalibration(nn.Module):
    """Logits that are a linear map of log-probabilities (Kull et al., 2019, arXiv:1910.12656).

    Of two classes it is beta calibration: a weight for each of the two log-probabilities, and an
    intercept. A new one changes nothing.

    Args:
        num_classes: K.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(num_classes))
        self.register_buffer("bias", torch.zeros(num_classes))

    def forward(self, logits: Tensor) -> Tensor:
        """Return calibrated logits ``(N, K)`` of logits ``(N, K)``."""
        return logits.log_softmax(-1) @ self.weight.T + self.bias

    def gain(self) -> float:
        """Return by how much it may enlarge a rounding of the logits."""
        common = self.weight.mean(0)  # what all rows add alike, softmax takes away
        return float((self.weight - common).abs().sum(1).max())
