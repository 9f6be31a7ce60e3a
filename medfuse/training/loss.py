"""What is minimized: cross entropy or focal loss on K class logits, with class weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.config import TrainingConfig
from medfuse.errors import ConfigError


class ClassLoss(nn.Module):
    """Mean loss of logits against class probabilities.

    Logits ``(N, K)``, or ``(N, S, K)`` of one head per source, whose losses are added up.

    Args:
        weights: ``(K,)`` factor on each class's part of the loss, or ``None``.
        smoothing: part of the target that is spread over all classes, in training only
            (Szegedy et al., 2016, doi:10.1109/CVPR.2016.308).
        focal_gamma: focusing of the focal loss (Lin et al., 2017, doi:10.1109/ICCV.2017.324);
            ``None`` for cross entropy.
    """

    weights: Tensor | None

    def __init__(
        self,
        weights: Tensor | None = None,
        smoothing: float = 0.0,
        focal_gamma: float | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.smoothing = smoothing
        self.focal_gamma = focal_gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the cases, a scalar; call ``eval()`` for no smoothing."""
        if logits.ndim == 3:
            return torch.stack([self._one(x, targets) for x in logits.unbind(1)]).sum()
        return self._one(logits, targets)

    def _one(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = logits.float()
        if self.training and self.smoothing > 0:
            targets = torch.lerp(
                targets, torch.full_like(targets, 1 / targets.shape[1]), self.smoothing
            )
        if self.focal_gamma is None:
            return F.cross_entropy(logits, targets, weight=self.weights)
        from monai.losses.focal_loss import softmax_focal_loss

        parts = softmax_focal_loss(logits, targets, self.focal_gamma)
        if self.weights is not None:
            parts = parts * self.weights
        return parts.sum(1).mean()


def build_loss(config: TrainingConfig, labels: Tensor, num_classes: int, name: str) -> ClassLoss:
    """Return the loss of a configuration.

    Args:
        config: its ``loss``, ``focal_gamma``, ``label_smoothing`` and ``class_weights``.
        labels: ``(N,)`` of the training cases, for ``class_weights: balanced``.
        num_classes: K.
        name: the head's own loss, for ``loss: auto``.

    Raises:
        ConfigError: there are not K class weights.
    """
    chosen = name if config.loss == "auto" else config.loss
    return ClassLoss(
        class_weights(config, labels, num_classes),
        config.label_smoothing,
        config.focal_gamma if chosen == "focal" else None,
    )


def class_weights(config: TrainingConfig, labels: Tensor, num_classes: int) -> Tensor | None:
    """Return one weight per class ``(K,)``, or ``None``.

    ``balanced`` weighs class k with ``N / (K N_k)``, so that the mean over the cases is 1 and all
    classes weigh the same; a class without a training case gets 0.

    Raises:
        ConfigError: there are not K weights.
    """
    if config.class_weights == "none":
        return None
    if config.class_weights == "balanced":
        counts = torch.bincount(labels, minlength=num_classes).float()
        weights = len(labels) / ((counts > 0).sum() * counts.clamp(min=1))
        return torch.where(counts > 0, weights, 0.0)
    check_class_weights(config, num_classes)
    return torch.tensor(config.class_weights, dtype=torch.float32)


def check_class_weights(config: TrainingConfig, num_classes: int) -> None:
    """Refuse a list of class weights of another length than there are classes.

    Raises:
        ConfigError: there are not K weights.
    """
    given = config.class_weights
    if not isinstance(given, str) and len(given) != num_classes:
        raise ConfigError(
            f"training.class_weights has {len(given)} numbers, "
            f"expected {num_classes}, one per class."
        )
