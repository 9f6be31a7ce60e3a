"""A pretraining in progress: everything that one batch hands to the next, saved and restored."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.trainer import SupervisedTrainer
from monai.utils.enums import CommonKeys
from torch import Tensor, nn

from medfuse.errors import TrainingError
from medfuse.pretraining.batches import Batch, ViewBatches
from medfuse.pretraining.settings import PretrainingSettings
from medfuse.training.checkpoint import LAST, cpu_state, load_checkpoint, save_checkpoint
from medfuse.training.engines import quiet_logger
from medfuse.training.progress import ProgressBar
from medfuse.training.schedule import parameter_groups
from medfuse.training.seeds import derived_seed, seed_everything

_LOG = logging.getLogger("medfuse")
_CLIP = 5.0


@dataclass(frozen=True)
class Place:
    """Where a pretraining is computed and kept.

    Attributes:
        device: where it is computed.
        folder: of the checkpoint; ``None`` keeps none.
        identity: digest of settings and images; a checkpoint of another one is refused.
        progress: tell on stderr how far it is, see `medfuse.progress`.
        checkpoint_seconds: least time between two checkpoints.
    """

    device: torch.device
    folder: Path | None = None
    identity: str = ""
    progress: bool = False
    checkpoint_seconds: float = 20.0


class Pretraining:
    """Trains a learner epoch by epoch; goes on exactly after any batch.

    Args:
        learner: a method's network; its ``loss(output, labels)`` is what is minimized.
        batches: of views.
        settings: epochs, rates.
        place: device and folder.
        look: called after each epoch with the learner; what it returns joins the epoch's record.
    """

    def __init__(
        self,
        learner: nn.Module,
        batches: ViewBatches,
        settings: PretrainingSettings,
        place: Place,
        look: Callable[[nn.Module], dict[str, float]] = lambda _learner: {},
    ) -> None:
        self.learner = learner.to(place.device)
        if not any(parameter.ndim == 5 for parameter in learner.parameters()):
            # Convolutions of images take a third less time on a CPU in this order of memory.
            self.learner = self.learner.to(memory_format=torch.channels_last)
        self.loss: Any = learner.loss
        self.batches, self.settings, self.place, self._look = batches, settings, place, look
        self.history: list[dict[str, float]] = []
        free = [p for p in learner.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameter_groups(free, settings.highest_lr, settings.weight_decay)
        )
        self.trainer = self._build_trainer()
        self.bar = ProgressBar(self.history, place.progress, f"pretraining ({settings.method})")
        self._losses: list[Tensor] = []  # of the epoch so far
        self._saved_at = self._began = time.monotonic()
        self._attach()

    def run(self) -> list[dict[str, float]]:
        """Train all epochs that are left, and return a record of each epoch.

        Raises:
            TrainingError: the loss is not finite, or the checkpoint is of something else.
            OutputError: the checkpoint cannot be written.
        """
        state = load_checkpoint(self.place.folder / LAST, self.place.identity) if (
            self.place.folder
        ) else None  # fmt: skip
        if state is not None:
            self._restore(state)
        if len(self.history) < self.settings.epochs:
            try:
                self.trainer.run()
            finally:
                self.bar.close()
            self._save()
        self.learner.eval()
        return self.history

    def rate(self, iteration: int) -> float:
        """Return the factor on the learning rate: it rises, then falls along half a cosine.

        Args:
            iteration: from 1 to that of the last batch of the last epoch.
        """
        total = len(self.batches) * self.settings.epochs
        rising = round(self.settings.warmup * total)
        if iteration <= rising:
            return iteration / rising
        return 0.5 * (1 + math.cos(math.pi * (iteration - rising) / (total - rising + 1)))

    def _build_trainer(self) -> SupervisedTrainer:
        amp = self.settings.mixed_precision and self.place.device.type == "cuda"
        trainer = SupervisedTrainer(
            device=self.place.device,
            max_epochs=self.settings.epochs,
            train_data_loader=self.batches,
            network=self.learner,
            optimizer=self.optimizer,
            loss_function=self.loss,
            prepare_batch=_prepare,
            amp=amp,
            decollate=False,
            optim_set_to_none=True,
        )
        trainer.logger = quiet_logger()
        return trainer

    def _attach(self) -> None:
        self.trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        self.trainer.add_event_handler(Events.ITERATION_STARTED, self._start_batch)
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self._end_batch)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        self.bar.attach(self.trainer)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self._save_sometimes)

    def _start_epoch(self, engine: Engine) -> None:
        self.learner.train()
        self.batches.epoch = engine.state.epoch

    def _start_batch(self, engine: Engine) -> None:
        # By the batch, so that none has to know what those before it drew.
        seed_everything(derived_seed(self.settings.seed, "iteration", engine.state.iteration))
        factor = self.rate(engine.state.iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor

    def _end_batch(self, engine: Engine) -> None:
        output: Any = engine.state.output
        self._losses.append(output[CommonKeys.LOSS].detach())
        if engine.state.iteration % len(self.batches):  # the last one is saved with its epoch
            self._save_sometimes(engine)

    def _end_epoch(self, engine: Engine) -> None:
        loss = float(torch.stack(self._losses).double().mean())
        if not math.isfinite(loss):
            raise TrainingError(f"The loss is not finite in epoch {engine.state.epoch}. Lower lr.")
        record = {"epoch": float(engine.state.epoch), "training_loss": loss}
        self._losses = []
        self.learner.eval()
        self.history.append({**record, **self._look(self.learner)})
        _LOG.debug("pretraining: %s", self.history[-1])

    def _save_sometimes(self, _engine: Engine) -> None:
        if time.monotonic() - self._saved_at >= self.place.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        if self.place.folder is None:
            return
        scaler = getattr(self.trainer, "scaler", None)
        state = {
            "identity": self.place.identity,
            "learner": cpu_state(self.learner),
            "optimizer": self.optimizer.state_dict(),
            "history": [dict(record) for record in self.history],
            "losses": [float(loss) for loss in self._losses],
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        save_checkpoint(self.place.folder / LAST, state)
        self._saved_at = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history.extend(state["history"])
        if state["scaler"] is not None:
            self.trainer.add_event_handler(
                Events.STARTED, lambda engine: engine.scaler.load_state_dict(state["scaler"])
            )
        self.trainer.state.epoch = len(self.history)
        self._losses = [torch.tensor(loss) for loss in state["losses"]]
        self.batches.begun = len(self._losses)
        self.trainer.state.iteration = len(self.history) * len(self.batches) + self.batches.begun
        _LOG.info(
            "going on after epoch %d of %d and %d batches",
            len(self.history), self.settings.epochs, self.batches.begun,
        )  # fmt: skip


def _prepare(
    batch: Batch, device: torch.device, non_blocking: bool, **_: object
) -> tuple[Tensor, Tensor]:
    views, labels = (part.to(device, non_blocking=non_blocking) for part in batch)
    return views, labels
