"""MONAI's trainer and evaluator on batches drawn by index."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.evaluator import SupervisedEvaluator
from monai.engines.trainer import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from torch import Tensor

from medfuse.errors import TrainingError
from medfuse.processes import Shard
from medfuse.training.batches import Batch
from medfuse.training.learner import Learner
from medfuse.training.loss import Loss
from medfuse.training.shared_batch import add_up_gradients


@dataclass(frozen=True)
class EngineParts:
    """What an engine works with.

    Attributes:
        learner: the module.
        loss: mean loss of a batch.
        batches: iterable of `Batch`, with a length.
        device: where to compute.
        amp: mixed precision.
        shard: this process among those that share the batches' images.
    """

    learner: Learner
    loss: Loss
    batches: Iterable[Batch]
    device: torch.device
    amp: bool = False
    shard: Shard = field(default_factory=Shard)


def build_trainer(
    parts: EngineParts, optimizer: torch.optim.Optimizer, epochs: int, clip: float | None
) -> SupervisedTrainer:
    """Return a trainer whose ``state.metrics`` get ``training_loss`` and ``training_accuracy``.

    Args:
        parts: what it works with.
        optimizer: steps once a batch.
        epochs: last epoch.
        clip: largest norm of the gradient, or ``None``.
    """
    trainer = SupervisedTrainer(
        device=parts.device,
        max_epochs=epochs,
        train_data_loader=parts.batches,
        network=parts.learner,
        optimizer=optimizer,
        loss_function=parts.loss,
        prepare_batch=_prepare,
        amp=parts.amp,
        decollate=False,
        optim_set_to_none=True,
    )
    _quiet(trainer)
    if parts.shard.count > 1:
        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, _add_up, parts)
    if clip is not None:
        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, _clip, clip)
    EpochMeter("training", parts.loss).attach(trainer)
    return trainer


def build_evaluator(parts: EngineParts) -> SupervisedEvaluator:
    """Return an evaluator whose ``state.metrics`` get the validation loss and accuracy."""
    evaluator = SupervisedEvaluator(
        device=parts.device,
        val_data_loader=parts.batches,
        network=parts.learner,
        prepare_batch=_prepare,
        amp=parts.amp,
        decollate=False,
    )
    _quiet(evaluator)
    EpochMeter("validation", parts.loss, computes=True).attach(evaluator)
    return evaluator


class EpochMeter:
    """Mean loss and accuracy over the cases of an epoch, as numbers in ``state.metrics``.

    Args:
        part: ``training`` or ``validation``, the first word of the metrics' names.
        loss: says which cases are right.
        computes: the engine does not compute the loss itself.
    """

    def __init__(self, part: str, loss: Loss, computes: bool = False) -> None:
        self._part = part
        self._loss = loss
        self._computes = computes
        self._reset()

    def attach(self, engine: Engine) -> None:
        """Follow an engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _reset(self, _engine: Engine | None = None) -> None:
        self._cases = 0
        self._total: Tensor | float = 0.0
        self._right: Tensor | int = 0

    @torch.no_grad()
    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        logits, targets = output[CommonKeys.PRED].detach(), output[CommonKeys.LABEL]
        computed = self._loss(logits, targets) if self._computes else output[CommonKeys.LOSS]
        loss = computed.detach()
        loss = loss / logits.shape[1] if logits.ndim == 3 else loss
        averaged = logits.mean(1) if logits.ndim == 3 else logits
        self._cases += len(targets)
        self._total = self._total + loss.double() * len(targets)
        self._right = self._right + self._loss.right(averaged, targets).sum()

    def _finish(self, engine: Engine) -> None:
        loss = float(self._total) / self._cases
        if not torch.isfinite(torch.tensor(loss)):
            raise TrainingError(
                f"The {self._part} loss is not finite in epoch {engine.state.epoch}. "
                "Lower training.lr, or set training.clip_gradient: 1.0."
            )
        engine.state.metrics[f"{self._part}_loss"] = loss
        engine.state.metrics[f"{self._part}_accuracy"] = float(self._right) / self._cases


def quiet_logger() -> logging.Logger:
    """Return a logger that prints nothing: medfuse reports errors itself, once."""
    logger = logging.getLogger("medfuse.training.ignite")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


def _quiet(engine: Engine) -> None:
    engine.logger = quiet_logger()


def _prepare(
    batch: Batch, device: torch.device, non_blocking: bool, **_: object
) -> tuple[Batch, Tensor]:
    moved = batch.to(device, non_blocking) if device.type != "cpu" else batch
    return moved, moved.targets


def _add_up(_engine: Engine, parts: EngineParts) -> None:
    """Before anything looks at the gradients, make them those of the whole batch."""
    learner = parts.learner
    add_up_gradients(parts.shard, learner.sources, learner.classifier.parameters())


def _clip(engine: Engine, largest: float) -> None:
    trainer: Any = engine
    if trainer.amp and trainer.scaler is not None:
        trainer.scaler.unscale_(trainer.optimizer)
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, largest)
