"""What training works with: cases as batches, the loss, the device."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from medfuse.config import TrainingConfig
from medfuse.device import find_device
from medfuse.errors import TrainingError
from medfuse.processes import Shard
from medfuse.training.batches import CaseBatches, Draws, EpochBatches, batch_size_of
from medfuse.training.data import TrainingData
from medfuse.training.loss import Loss, build_loss
from medfuse.training.run import Run

_VALIDATION_BATCH = 256
_DECAY = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stopping:
    """When training ends early.

    Attributes:
        patience: after so many epochs without a gain.
        min_delta: a loss that has fallen by less is no gain.
    """

    patience: int
    min_delta: float


@dataclass(frozen=True)
class Setup:
    """Batches, losses and device of one training.

    Attributes:
        config: the training section of the configuration.
        batches: of the training cases, new in every epoch.
        validation: the clean validation cases, or ``None``.
        stopping: when to stop early; ``None`` without validation cases, or where it is not asked
            for.
        ema_decay: of the mean over the epochs; 0 for none.
        loss: what is minimized.
        validation_loss: the same without label smoothing.
        device: where to compute.
        amp: mixed precision; GPUs only.
    """

    config: TrainingConfig
    batches: EpochBatches
    validation: CaseBatches | None
    stopping: Stopping | None
    ema_decay: float
    loss: Loss
    validation_loss: Loss
    device: torch.device
    amp: bool


def build_setup(
    data: TrainingData, validation: TrainingData | None, config: TrainingConfig, run: Run
) -> Setup:
    """Return everything that does not change from epoch to epoch.

    Raises:
        ConfigError: the class weights do not fit the classes, or the device is absent.
        TrainingError: a label is not among the classes.
    """
    num_classes = len(run.classes)
    for cases in (data, validation):
        if cases is not None and cases.labels.ndim == 2:
            if cases.labels.shape[1] != num_classes:
                raise TrainingError(
                    f"Found {cases.labels.shape[1]} labels per case, expected {num_classes}."
                )
        elif cases is not None and len(cases) and int(cases.labels.max()) >= num_classes:
            raise TrainingError(
                f"Found class index {int(cases.labels.max())}, expected at most "
                f"{num_classes - 1}: the run has {num_classes} classes."
            )
    device = find_device(config.device, "training.device")
    if config.mixed_precision and device.type != "cuda":
        _say_full_precision(device.type)
    hidden = config.input_dropout if run.hides_inputs else 0.0
    draws = Draws(run.seed, config.sampler == "oversample", config.mixup, hidden)
    learns, alone = bool(run.learning_sources(data.features)), run.members == 1
    size = batch_size_of(config.batch_size, len(data), learns=learns)
    batches = EpochBatches(data, num_classes, size, draws, run.shard)
    loss = build_loss(config, data.labels, num_classes, run.head_loss).to(device)
    held_out = _validation_batches(
        validation, num_classes, size if learns else _VALIDATION_BATCH, run.shard
    )
    return Setup(
        config=config,
        batches=batches,
        validation=held_out,
        stopping=None if held_out is None else stopping_of(config, learns=learns, alone=alone),
        ema_decay=ema_decay_of(config.ema_decay, learns=learns, alone=alone),
        loss=loss,
        validation_loss=loss.unsmoothed().to(device),
        device=device,
        amp=config.mixed_precision and device.type == "cuda",
    )


def ema_decay_of(asked: float | Literal["auto"], *, learns: bool, alone: bool) -> float:
    """Return the decay of the mean over the epochs (`AveragedWeights`); 0 for none.

    ``auto`` is 0.5 for one network alone on banked features. Several that are averaged gain nothing
    by being means themselves, and for sources that learn it was not tried.

    Args:
        asked: ``training.ema_decay``.
        learns: a source learns, from the first epoch on or later.
        alone: the network is not one of several that are averaged.
    """
    if asked != "auto":
        return asked
    return _DECAY if alone and not learns else 0.0


def stopping_of(config: TrainingConfig, *, learns: bool, alone: bool) -> Stopping | None:
    """Return when training ends early; ``None`` where that is not asked for.

    ``auto`` is a patience of 10 epochs where a source learns, and of 7 on banked features, whose
    loss hardly falls once it has not for so long, and a gain of 0.001. The loss of a mean over the
    epochs wavers less, so that 5 epochs without a gain of 0.005 are enough for one network alone;
    networks that are averaged are a little better where each learns longer.

    Args:
        config: how to learn.
        learns: a source learns, from the first epoch on or later.
        alone: the network is not one of several that are averaged.
    """
    asked = config.early_stopping
    if asked is None:
        return None
    means = ema_decay_of(config.ema_decay, learns=learns, alone=alone) > 0
    if means and alone and not learns:
        usual = Stopping(5, 5e-3)
    else:
        usual = Stopping(10 if learns else 7, 1e-3)
    return Stopping(
        usual.patience if asked.patience == "auto" else asked.patience,
        usual.min_delta if asked.min_delta == "auto" else asked.min_delta,
    )


@cache
def _say_full_precision(device: str) -> None:
    """Say it once, not for every member."""
    _log.warning("training.mixed_precision has no effect on %s; FP32 is used.", device)


def _validation_batches(
    cases: TrainingData | None, num_classes: int, batch_size: int, shard: Shard
) -> CaseBatches | None:
    if cases is None or len(cases) == 0:
        return None
    return CaseBatches(cases, num_classes, batch_size, shard)
