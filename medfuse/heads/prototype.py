"""Classify by how near a case is to one prototype of each class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.heads.noise import GaussianNoise

_START = 1e-4


class PrototypeHead(nn.Module):
    """Logits ``(N, K)``: nearness to one learned prototype per class, times a learned scale.

    With ``distance`` ``cosine``, the logit is ``scale * cos(x, prototype)``: only directions
    count, so that a class of few cases is not outvoted by the length of its weights (Gidaris and
    Komodakis, 2018, arXiv:1804.09501). With ``euclidean`` it is ``-scale`` times the mean squared
    difference (Snell et al., 2017, arXiv:1703.05175); prototypes start at the mean of all cases.

    Unlike in Snell et al. prototypes are learned with the fusion, not taken as the means of a
    support set. Unlike in Gidaris and Komodakis they start next to 0, where the first steps of
    the optimizer turn them toward their classes: few cases mean few steps, which hardly turn
    random directions.

    Args:
        in_dim: width of the features.
        num_classes: number of classes K.
        distance: ``cosine`` or ``euclidean``.
        scale: where the scale starts.
        noise: standard deviation of the Gaussian noise added to the input in training.
        dropout: fraction of inputs set to zero in training.
    """

    def __init__(
        self,
        in_dim: int,
        num_classes: int,
        distance: str = "cosine",
        scale: float = 10.0,
        noise: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.distance = distance
        self.noise = GaussianNoise(noise)
        self.dropout = nn.Dropout(dropout)
        # The logarithm keeps the scale positive, and one step changes it by a like part anywhere.
        self.log_scale = nn.Parameter(torch.tensor(scale).log())
        self.prototypes = nn.Parameter(torch.zeros(num_classes, in_dim))
        if distance == "cosine":
            nn.init.normal_(self.prototypes, std=_START)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, K)``."""
        x = self.dropout(self.noise(x))
        if self.distance == "cosine":
            nearness = F.normalize(x, dim=-1) @ F.normalize(self.prototypes, dim=-1).T
        else:
            nearness = -(x[:, None, :] - self.prototypes).square().mean(-1)
        return self.log_scale.exp() * nearness
