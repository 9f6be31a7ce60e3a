"""Classify two classes with a single logit."""

from __future__ import annotations

from torch import Tensor, nn

from medfuse.heads.noise import GaussianNoise


class SigmoidHead(nn.Module):
    """One logit ``(N, 1)``: the log-odds of the second class against the first.

    Args:
        in_dim: width of the features.
        num_classes: must be 2.
        noise: standard deviation of the Gaussian noise added to the input in training.
        dropout: fraction of inputs set to zero in training.

    Raises:
        ValueError: there are not two classes.
    """

    def __init__(
        self, in_dim: int, num_classes: int, noise: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if num_classes != 2:
            raise ValueError(
                f"The sigmoid head separates 2 classes, found {num_classes}. Use linear or mlp."
            )
        self.noise = GaussianNoise(noise)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_dim, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, 1)``."""
        logits: Tensor = self.linear(self.dropout(self.noise(x)))
        return logits
