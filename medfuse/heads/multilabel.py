"""Classify by several labels at once, none of which excludes another."""

from __future__ import annotations

from torch import Tensor, nn

from medfuse.heads.layers import head_layers


class MultilabelHead(nn.Module):
    """Log-odds ``(N, L)`` of L labels, each a question of its own: does it hold or not?

    The labels share the hidden layer, so that a rare one gains from what the frequent ones teach
    (Caruana, 1997, doi:10.1023/A:1007379606734).

    Args:
        in_dim: width of the features.
        num_classes: number of labels L.
        hidden: width of the hidden layer, as of `MlpHead`; 0 for none.
        noise: standard deviation of the Gaussian noise on the input, in training.
        dropout: fraction of hidden units (of inputs without a hidden layer) set to zero in
            training.
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
        self.answers = head_layers(in_dim, num_classes, hidden, noise, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-odds ``(N, L)``."""
        logits: Tensor = self.answers(x)
        return logits
