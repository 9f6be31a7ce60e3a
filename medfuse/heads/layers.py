"""The layers of heads whose logits mean something else than classes."""

from __future__ import annotations

from torch import nn

from medfuse.heads.linear import LinearHead
from medfuse.heads.mlp import MlpHead


def head_layers(in_dim: int, out_dim: int, hidden: int, noise: float, dropout: float) -> nn.Module:
    """Return layers ``(N, in_dim) -> (N, out_dim)`` with a hidden layer, or linear ones if it is 0.

    Args:
        in_dim: width of the features.
        out_dim: number of logits.
        hidden: width of the hidden layer, as of `MlpHead`; 0 for none.
        noise: standard deviation of the Gaussian noise on the input, in training.
        dropout: fraction of hidden units (of inputs without a hidden layer) set to zero in
            training.
    """
    if hidden:
        return MlpHead(in_dim, out_dim, hidden, noise, dropout)
    return LinearHead(in_dim, out_dim, noise, dropout)
