"""Classify with a small multi-layer perceptron, regularized for a few hundred cases."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.heads.noise import GaussianNoise


class MlpHead(nn.Module):
    """Logits ``(N, K)`` through one hidden layer.

    Gaussian noise (training only) -> linear -> batch norm -> ReLU -> dropout -> linear.

    Args:
        in_dim: width of the features.
        num_classes: number of classes K.
        hidden: width of the hidden layer.
        noise: standard deviation of the noise, in units of the standardized features.
        dropout: fraction of hidden units set to zero in training.
    """

    def __init__(
        self,
        in_dim: int,
        num_classes: int,
        hidden: int = 256,
        noise: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.noise = GaussianNoise(noise)
        self.hidden = nn.Linear(in_dim, hidden)
        self.norm = RowSafeBatchNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, K)``."""
        x = F.relu(self.norm(self.hidden(self.noise(x))))
        logits: Tensor = self.output(self.dropout(x))
        return logits


class RowSafeBatchNorm(nn.BatchNorm1d):
    """Batch norm that normalizes a batch of a single row by the running statistics.

    A single row has no spread; `torch.nn.BatchNorm1d` refuses it in training.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, F)`` normalized."""
        if self.training and x.shape[0] == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        normalized: Tensor = super().forward(x)
        return normalized
