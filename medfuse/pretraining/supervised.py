"""Supervised learning: one linear layer tells the classes of each labelled set apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Supervised(nn.Module):
    """A backbone with a linear layer that is thrown away after the training.

    Several sets share the layer. An image is told apart among the classes of its own set alone,
    since nobody said whether it is one of another set's too.

    Args:
        source: images ``(N, C, *size)`` to features ``(N, F)``.
        width: F.
        classes: how many classes each set has; a label counts through all sets.
    """

    owner: Tensor

    def __init__(self, source: nn.Module, width: int, classes: Sequence[int]) -> None:
        super().__init__()
        self.source = source
        self.classifier = nn.Linear(width, sum(classes))
        owners = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(classes))
        self.register_buffer("owner", owners, persistent=False)

    def forward(self, views: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of views ``(N, 1, C, *size)``, K classes of all sets."""
        return self.logits(views.flatten(0, 1))

    def logits(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of images ``(N, C, *size)``."""
        found: Tensor = self.classifier(self.source(images))
        return found

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of labels ``(N,)`` within their sets, in FP32."""
        return F.cross_entropy(self.within_sets(logits.float(), labels), labels)

    def within_sets(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return logits with all classes ruled out that are of another set than the label."""
        other = self.owner[None, :] != self.owner[labels][:, None]
        return logits.masked_fill(other, float("-inf"))
