"""Noise on the features, in training: what keeps a head from learning a few cases by heart."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GaussianNoise(nn.Module):
    """Adds independent Gaussian noise to every value, in training only.

    With a linear layer behind it this acts like weight decay that counts the use of each feature
    (Bishop, 1995, doi:10.1162/neco.1995.7.1.108).

    Args:
        std: standard deviation; 0 adds nothing.
    """

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with noise in training, ``x`` itself otherwise."""
        if not self.training or self.std == 0:
            return x
        return x + self.std * torch.randn_like(x)

    def extra_repr(self) -> str:
        """Return the standard deviation."""
        return f"std={self.std}"
