"""Grade step by step: is a case above this grade, given that it is above the one before?"""

from __future__ import annotations

from torch import Tensor, nn

from medfuse.heads.layers import head_layers


class CornHead(nn.Module):
    """Logits ``(N, K - 1)``: of being above a grade, for a case that is above all grades before.

    Each step has weights of its own, so that what tells mild from moderate need not tell moderate
    from severe (Shi, Cao and Raschka, 2023, doi:10.1007/s10044-023-01181-9). The probabilities of
    the grades are products of the steps, ordered and of sum 1 without any constraint.

    Args:
        in_dim: width of the features.
        num_classes: number of grades K, the lowest first.
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
        self.steps = head_layers(in_dim, num_classes - 1, hidden, noise, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, K - 1)``."""
        logits: Tensor = self.steps(x)
        return logits
