"""Classify with one linear layer: logistic regression."""

from __future__ import annotations

from torch import Tensor, nn

from medfuse.heads.noise import GaussianNoise


class LinearHead(nn.Module):
    """Logits ``(N, K)`` as a linear function of the features.

    Args:
        in_dim: width of the features.
        num_classes: number of classes K.
        noise: standard deviation of the Gaussian noise added to the input in training.
        dropout: fraction of inputs set to zero in training.
    """

    def __init__(
        self, in_dim: int, num_classes: int, noise: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.noise = GaussianNoise(noise)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_dim, num_classes)
        # From zero, the first logits are equal and early stopping leaves unused directions at 0.
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, K)``."""
        logits: Tensor = self.linear(self.dropout(self.noise(x)))
        return logits
