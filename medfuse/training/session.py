"""A training in progress: everything that one epoch hands to the next, saved and restored."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from torch import Tensor
from torch.nn import Parameter

from medfuse.training.averaged import AveragedWeights
from medfuse.training.checkpoint import BEST, LAST, cpu_state, save_checkpoint
from medfuse.training.engines import EngineParts, build_evaluator, build_trainer, quiet_logger
from medfuse.training.learner import Learner, LearningSource
from medfuse.training.progress import ProgressBar, describe_epoch
from medfuse.training.result import EpochRecord
from medfuse.training.run import Run, SourceRates, Unfreeze
from medfuse.training.schedule import Schedule, build_optimizer, parameter_groups
from medfuse.training.seeds import derived_seed, seed_everything
from medfuse.training.setup import Setup
from medfuse.training.tensorboard import TensorBoardRecord

_LOG = logging.getLogger("medfuse")
_SAVING_SECONDS = 0.3


@dataclass
class _Best:
    epoch: int = 0
    loss: float = float("inf")
    state: dict[str, Tensor] | None = None


class Session:
    """Trains a learner epoch by epoch; can be restored to the end of any epoch.

    Args:
        learner: what learns, on its device, standardization fitted.
        setup: loss, cases, device.
        run: folder, seed, handlers.
        identity: digest of configuration and data, kept in the checkpoints.
    """

    def __init__(self, learner: Learner, setup: Setup, run: Run, identity: str) -> None:
        self.learner, self.setup, self.run_info, self.identity = learner, setup, run, identity
        self.history: list[EpochRecord] = []
        self.best = _Best()
        self.average = AveragedWeights(learner, setup.ema_decay)
        self.stopped = ""
        config = setup.config
        self.schedule = Schedule(config.schedule, config.epochs)
        self.optimizer = build_optimizer(config, learner.classifier_parameters())
        for source in map(int, learner.sources):
            self._add_source_parameters(source, self._rates(source).scale)
        self.trainer = build_trainer(
            EngineParts(learner, setup.loss, setup.batches, setup.device, setup.amp, run.shard),
            self.optimizer,
            run.last_epoch or config.epochs,
            config.clip_gradient,
        )
        self.stopper = self._build_stopper()
        self.bar = ProgressBar(self.history, run.progress, run.title)
        events = run.folder / "tensorboard" if run.folder else None
        self.tensorboard = TensorBoardRecord(events, self.history)
        self._saved_at, self._save_took, self._saved_best = time.monotonic(), 0.0, 0
        self._attach()

    def train(self) -> None:
        """Run all epochs that are left, then write the last checkpoint.

        Raises:
            TrainingError: the loss is not finite.
        """
        if not self.stopped:
            try:
                self.trainer.run()
            finally:
                self.bar.close()
                self.tensorboard.close()
            self.stopped = "early" if self.trainer.should_terminate else "epochs"
            self.save()

    def save(self) -> None:
        """Write ``best.pt`` and ``last.pt``; the latter alone is enough to go on exactly."""
        folder = self.run_info.checkpoints
        if folder is None:
            return
        begun = time.monotonic()
        if self.best.epoch != self._saved_best:
            best = {"identity": self.identity, "epoch": self.best.epoch, "learner": self.best.state}
            save_checkpoint(folder / BEST, best)
            self._saved_best = self.best.epoch
        save_checkpoint(folder / LAST, self._state())
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - begun

    def restore(self, state: dict[str, Any]) -> None:
        """Go on after the epoch of a checkpoint."""
        epoch = int(state["epoch"])
        for change in self.run_info.unfreeze:
            if change.after < epoch:
                self._unfreeze(change)
        self.stopped = state["stopped"]
        if not self.stopped:
            self.learner.load_state_dict(state["learner"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.load_state_dict(state["average"])
        self.schedule.load_state_dict(state["schedule"])
        if self.stopper is not None and state["early_stopping"] is not None:
            self.stopper.load_state_dict(state["early_stopping"])
        self.history.extend(state["history"])
        self.best = _Best(**state["best"])
        if state["scaler"] is not None:
            self.trainer.add_event_handler(
                Events.STARTED, lambda e: e.scaler.load_state_dict(state["scaler"])
            )
        self.trainer.state.epoch = epoch
        self.trainer.state.iteration = epoch * len(self.setup.batches)

    def keep_best(self) -> None:
        """Give the learner what its best epoch left: its parameters, or a mean of them."""
        if self.best.state is not None:
            self.learner.load_state_dict(self.best.state)
        self.learner.eval()

    def _attach(self) -> None:
        trainer, setup = self.trainer, self.setup
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        if setup.validation is not None:
            parts = EngineParts(
                self.learner, setup.validation_loss, setup.validation, setup.device, setup.amp
            )
            self._evaluator = build_evaluator(parts)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        self.tensorboard.attach(trainer)
        self.bar.attach(trainer)
        if self.run_info.attach_handlers is not None:
            self.run_info.attach_handlers(trainer, self._run_of_handlers())
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._save_sometimes)

    def _run_of_handlers(self) -> Run:
        """Return the run; in all processes but the first, with a folder that is thrown away.

        A handler may change the training, which it has to do in all of them, and may write.
        """
        if self.run_info.shard.first:
            return self.run_info
        self._scratch = TemporaryDirectory(prefix="medfuse-")
        return replace(self.run_info, folder=Path(self._scratch.name))

    def _start_epoch(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        for change in self.run_info.unfreeze:
            if change.after == epoch - 1:
                self._unfreeze(change)
        self.setup.batches.epoch = epoch
        self.schedule.apply(self.optimizer, epoch)
        seed_everything(derived_seed(self.run_info.seed, "epoch", epoch))

    def _end_epoch(self, engine: Engine) -> None:
        self.average.add()
        with self.average.in_place():
            self._judge(engine)
        waits = any(change.after >= engine.state.epoch for change in self.run_info.unfreeze)
        if self.stopper is not None and not waits:
            self.stopper(engine)
        _LOG.debug("epoch %d: %s", engine.state.epoch, describe_epoch(self.history))

    def _judge(self, engine: Engine) -> None:
        """Note how good the learner is, and keep it if it never was as good."""
        metrics = cast("dict[str, float]", engine.state.metrics)
        if self.setup.validation is not None:
            self._evaluator.run(engine.state.epoch)
            metrics.update(self._evaluator.state.metrics)
        record = {"epoch": float(engine.state.epoch), "lr": self.optimizer.param_groups[0]["lr"]}
        names = ("training_loss", "training_accuracy", "validation_loss", "validation_accuracy")
        record.update({name: metrics[name] for name in names if name in metrics})
        # What is decided by a loss has to be decided by the same loss in all processes.
        record = self.run_info.shard.told(record)
        self.history.append(record)
        loss = record.get("validation_loss")
        if loss is None or loss < self.best.loss:
            self.best = _Best(engine.state.epoch, loss or 0.0, cpu_state(self.learner))
        self.schedule.observe(record["training_loss"] if loss is None else loss)

    def _save_sometimes(self, _engine: Engine) -> None:
        """Save, but of a large network so seldom that a tenth of the time at most goes into it."""
        patience = self.run_info.checkpoint_seconds * max(1.0, self._save_took / _SAVING_SECONDS)
        if time.monotonic() - self._saved_at >= patience:
            self.save()

    def _build_stopper(self) -> EarlyStopping | None:
        asked = self.setup.stopping
        if asked is None:
            return None
        # Positional: the names of the last two arguments differ between Ignite's versions. The
        # last makes `min_delta` count from the loss that last reset the patience.
        stopper = EarlyStopping(asked.patience, self._score, self.trainer, asked.min_delta, True)
        stopper.logger = quiet_logger()
        return stopper

    def _score(self, _engine: Engine) -> float:
        return -self.history[-1]["validation_loss"]

    def _unfreeze(self, change: Unfreeze) -> None:
        source = cast("LearningSource", self.learner.sources[str(change.source)])
        source.set_trainable(change.paths)
        for batches in (self.setup.batches, self.setup.validation):
            if batches is not None:
                batches.live |= {change.source}
        self._add_source_parameters(change.source, change.lr_scale)

    def _rates(self, source: int) -> SourceRates:
        return self.run_info.rates.get(source, SourceRates())

    def _add_source_parameters(self, source: int, scale: float) -> None:
        """Let the optimizer have what is free now and was not; what it has keeps its rate."""
        known = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        rates, new = self._rates(source), dict[float, list[Parameter]]()
        for name, parameter in self.learner.sources[str(source)].named_parameters():
            if parameter.requires_grad and id(parameter) not in known:
                new.setdefault(scale * rates.factor(name), []).append(parameter)
        config = self.setup.config
        for factor, parameters in new.items():
            groups = parameter_groups(parameters, config.lr * factor, config.source_weight_decay)
            for group in groups:
                self.optimizer.add_param_group(group)

    def _state(self) -> dict[str, Any]:
        """Return what the next epoch needs; once the last is done, the best parameters alone."""
        scaler = None if self.stopped else getattr(self.trainer, "scaler", None)
        return {
            "identity": self.identity,
            "epoch": len(self.history),
            "learner": None if self.stopped else cpu_state(self.learner),
            "optimizer": None if self.stopped else self.optimizer.state_dict(),
            "average": None if self.stopped else self.average.state_dict(),
            "schedule": self.schedule.state_dict(),
            "early_stopping": None if self.stopper is None else dict(self.stopper.state_dict()),
            "history": [dict(record) for record in self.history],
            "best": vars(self.best),
            "stopped": self.stopped,
            "scaler": None if scaler is None else scaler.state_dict(),
        }
