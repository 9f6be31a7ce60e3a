"""Grade by one score and ordered thresholds."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.heads.layers import head_layers

_STEP = 4.0


class CoralHead(nn.Module):
    """Logits ``(N, K - 1)`` that a case is above grade 1, 2, ...: one score less K - 1 thresholds.

    All thresholds share the score, so that the logits have one order for every case (Cao,
    Mirjalili and Raschka, 2020, doi:10.1016/j.patrec.2020.11.008). Two deviations:

    - There only the end of training has ordered thresholds. Here they are ordered by construction:
      each lies a positive step above the one before.
    - They start four units apart, around 0. Few cases mean few steps of the optimizer, which
      hardly move a threshold; where two lie within about one unit, the grade between them is
      never the most probable one.

    Args:
        in_dim: width of the features.
        num_classes: number of grades K, the lowest first.
        hidden: width of the hidden layer of the score, as of `MlpHead`; 0 for a linear score.
        noise: standard deviation of the Gaussian noise on the input, in training.
        dropout: fraction of hidden units (of inputs without a hidden layer) set to zero in
            training.
    """

    rest: Tensor

    def __init__(
        self,
        in_dim: int,
        num_classes: int,
        hidden: int = 256,
        noise: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.score = head_layers(in_dim, 1, hidden, noise, dropout)
        step = torch.tensor(_STEP)
        rises = step.expm1().log().repeat(num_classes - 1)  # the inverse of softplus
        rises[0] = -step * (num_classes - 2) / 2
        self.thresholds = nn.Parameter(rises)
        self.register_buffer("rest", torch.arange(num_classes - 1) > 0, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, K - 1)``, none above the one before."""
        rises = torch.where(self.rest, F.softplus(self.thresholds), self.thresholds)
        logits: Tensor = self.score(x) - rises.cumsum(0)
        return logits
