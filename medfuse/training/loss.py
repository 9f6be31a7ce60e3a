"""What is minimized: cross entropy, focal or CORAL loss on K class logits, with class weights."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.config import TrainingConfig
from medfuse.errors import ConfigError
from medfuse.training.label_loss import LabelLoss, positive_weights

Loss: TypeAlias = "ClassLoss | LabelLoss"


class ClassLoss(nn.Module):
    """Mean loss of logits against class probabilities.

    Logits ``(N, K)``, or ``(N, S, K)`` of one head per source, whose losses are added up.

    Args:
        weights: ``(K,)`` factor on each class's part of the loss, or ``None``.
        smoothing: part of the target that is spread over all classes, in training only
            (Szegedy et al., 2016, doi:10.1109/CVPR.2016.308).
        focal_gamma: focusing of the focal loss (Lin et al., 2017, doi:10.1109/ICCV.2017.324);
            ``None`` for cross entropy.
        graded: the CORAL loss instead: the cross entropies of all K - 1 questions "above this
            grade?" added up (Cao et al., 2020, doi:10.1016/j.patrec.2020.11.008).
    """

    weights: Tensor | None

    def __init__(
        self,
        weights: Tensor | None = None,
        smoothing: float = 0.0,
        focal_gamma: float | None = None,
        graded: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.smoothing = smoothing
        self.focal_gamma = focal_gamma
        self.graded = graded

    def unsmoothed(self) -> ClassLoss:
        """Return the same loss without label smoothing."""
        return ClassLoss(self.weights, 0.0, self.focal_gamma, self.graded)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the cases, a scalar; call ``eval()`` for no smoothing."""
        if logits.ndim == 3:
            return torch.stack([self._one(x, targets) for x in logits.unbind(1)]).sum()
        return self._one(logits, targets)

    def right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return whether the most probable class of each case is right, ``(N,)``."""
        return logits.argmax(1) == targets.argmax(1)

    def _one(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = logits.float()
        if self.training and self.smoothing > 0:
            targets = torch.lerp(
                targets, torch.full_like(targets, 1 / targets.shape[1]), self.smoothing
            )
        if self.graded:
            parts = above_each_grade(logits.log_softmax(1), targets)
            weights = 1.0 if self.weights is None else targets @ self.weights
            return (parts * weights).mean()
        if self.focal_gamma is None:
            return F.cross_entropy(logits, targets, weight=self.weights)
        from monai.losses.focal_loss import softmax_focal_loss

        parts = softmax_focal_loss(logits, targets, self.focal_gamma)
        if self.weights is not None:
            parts = parts * self.weights
        return parts.sum(1).mean()


def above_each_grade(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy of "above grade k?" added up over k, ``(N,)``.

    The probability of being above a grade is the sum of those of all higher grades, so that the
    loss is that of the K - 1 outputs of a CORAL head, whatever the link.

    Args:
        log_probabilities: ``(N, K)``, the lowest grade first.
        targets: ``(N, K)`` class probabilities to learn.
    """
    below = log_probabilities.logcumsumexp(1)[:, :-1]
    above = log_probabilities.flip(1).logcumsumexp(1).flip(1)[:, 1:]
    truth = targets.flip(1).cumsum(1).flip(1)[:, 1:]
    return -(truth * above + (1 - truth) * below).sum(1)


def build_loss(config: TrainingConfig, labels: Tensor, num_classes: int, name: str) -> Loss:
    """Return the loss of a configuration.

    Args:
        config: its ``loss``, ``focal_gamma``, ``label_smoothing`` and ``class_weights``.
        labels: ``(N,)`` of the training cases, for ``class_weights: balanced``; answers ``(N, L)``
            of several labels, whose losses are binary.
        num_classes: K.
        name: the head's own loss, for ``loss: auto``. That of a CORN head, the cross entropies of
            the steps that a case has reached added up, is the cross entropy of its K
            probabilities (Shi et al., 2023, doi:10.1007/s10044-023-01181-9, divide by the number
            of steps in the batch, here by that of the cases).

    Raises:
        ConfigError: there are not K class weights.
    """
    chosen = name if config.loss == "auto" else config.loss
    weights = class_weights(config, labels, num_classes)
    gamma = config.focal_gamma if chosen == "focal" else None
    if labels.ndim == 2:
        return LabelLoss(weights, config.label_smoothing, gamma)
    return ClassLoss(weights, config.label_smoothing, gamma, graded=chosen == "coral")


def class_weights(config: TrainingConfig, labels: Tensor, num_classes: int) -> Tensor | None:
    """Return one weight per class ``(K,)``, or ``None``.

    ``balanced`` weighs class k with ``N / (K N_k)``, so that the mean over the cases is 1 and all
    classes weigh the same; a class without a training case gets 0. Of several labels the weights
    are those of their positive answers.

    Raises:
        ConfigError: there are not K weights.
    """
    if config.class_weights == "none":
        return None
    if config.class_weights == "balanced":
        if labels.ndim == 2:
            return positive_weights(labels)
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
