"""Contrastive learning: two views of one image are found among the views of all others.

Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
arXiv:2002.05709. The loss is MONAI's. Deviations: AdamW in place of LARS, which is for batches
of thousands; a batch norm inside the projection, as in the authors' own code.
"""

from __future__ import annotations

from monai.losses.contrastive import ContrastiveLoss
from torch import Tensor, nn


class SimCLR(nn.Module):
    """A backbone with a projection that is thrown away after the training.

    Args:
        source: images ``(N, C, *size)`` to features ``(N, F)``.
        width: F.
        projection: width of what the loss compares.
        temperature: of the loss; the smaller, the more the hardest pairs count.
    """

    def __init__(self, source: nn.Module, width: int, projection: int, temperature: float) -> None:
        super().__init__()
        self.source = source
        self.projector = nn.Sequential(
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, projection),
        )
        self._loss = ContrastiveLoss(temperature)

    def forward(self, views: Tensor) -> Tensor:
        """Return ``(2 N, projection)`` of views ``(N, 2, C, *size)``: all first, all second."""
        projected: Tensor = self.projector(self.source(views.transpose(0, 1).flatten(0, 1)))
        return projected

    def loss(self, projected: Tensor, _labels: Tensor) -> Tensor:
        """Return the mean loss of a batch, in FP32."""
        first, second = projected.float().chunk(2)
        found: Tensor = self._loss(first, second)
        return found
