"""Train on banked features by a plain loop: what `fit` does, step for step, for many small fits.

No engine, no checkpoint, no TensorBoard, no handlers of plugins: what a comparison of dozens of
candidates on several folds can do without. The same seed draws the same batches, views and noise.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from medfuse.config import TrainingConfig
from medfuse.errors import TrainingError
from medfuse.threads import one_thread
from medfuse.training.averaged import AveragedWeights
from medfuse.training.batches import Batch
from medfuse.training.checkpoint import cpu_state
from medfuse.training.data import TrainingData
from medfuse.training.fit import combines_by_fit
from medfuse.training.label_bias import begin_at_shares
from medfuse.training.learner import Learner
from medfuse.training.out_of_fold import fit_out_of_fold
from medfuse.training.quick_adam import QuickAdam
from medfuse.training.quick_layers import quick_layers
from medfuse.training.result import EpochRecord, TrainingResult
from medfuse.training.run import Run
from medfuse.training.schedule import Schedule, build_optimizer, parameter_groups
from medfuse.training.seeds import derived_seed, seed_everything
from medfuse.training.setup import Setup, Stopping, build_setup
from medfuse.training.standardized import standardized_once


def fit_quickly(
    model: nn.Module,
    data: TrainingData,
    validation: TrainingData | None,
    config: TrainingConfig,
    run: Run,
) -> TrainingResult:
    """Train ``model`` in place on banked features, on the processor; see `fit`.

    Nothing is written and nothing resumed: ``run.folder`` and its handlers are not looked at.

    Args:
        model: `FeatureClassifier`, `DecisionClassifier` or `OpinionPool`.
        data: the training cases; every source has features.
        validation: decides when to stop; may be ``None`` or empty.
        config: how to learn.
        run: its seed, classes and loss.

    Raises:
        TrainingError: a source has no features, or the loss is not finite.
    """
    if any(x is None for x in data.features):
        raise TrainingError("A source without banked features cannot be trained quickly.")
    config = config.model_copy(update={"device": "cpu", "mixed_precision": False})
    untrained = copy.deepcopy(model) if combines_by_fit(model) else None
    with one_thread():
        learner = Learner(model)
        seed_everything(derived_seed(run.seed, "start"))
        learner.standardize(data, ())
        with quick_layers(learner), _prepared(learner, (data, validation), config, run) as parts:
            setup = build_setup(*parts, config, run)
            begin_at_shares(learner.classifier, data.labels, setup.loss)
            result = _Loop(learner, setup, run).train()
    if untrained is not None:
        inner = replace(run, last_epoch=result.best_epoch)
        fit_out_of_fold(
            (model, untrained), data, lambda m, d, r: fit_quickly(m, d, None, config, r), inner
        )
    return result


def _prepared(
    learner: Learner,
    parts: tuple[TrainingData, TrainingData | None],
    config: TrainingConfig,
    run: Run,
) -> AbstractContextManager[tuple[TrainingData, TrainingData | None]]:
    """Standardize at once, unless features are mixed or hidden before they are standardized."""
    hides = run.hides_inputs and config.input_dropout > 0 and parts[0].mask is not None
    if hides or config.mixup > 0:
        return nullcontext(parts)
    return standardized_once(learner, parts)


@dataclass
class _Stopper:
    """Early stopping as Ignite does it, ``min_delta`` counted from the loss that reset it."""

    asked: Stopping
    best: float | None = None
    waited: int = 0

    def stops(self, loss: float) -> bool:
        """Tell whether to stop after an epoch with this validation loss."""
        if self.best is None or -loss > -self.best + self.asked.min_delta:
            self.best, self.waited = loss, 0
            return False
        self.waited += 1
        return self.waited >= self.asked.patience


@dataclass
class _Loop:
    learner: Learner
    setup: Setup
    run: Run
    history: list[EpochRecord] = field(default_factory=list)
    held_out: list[Batch] = field(default_factory=list)

    def __post_init__(self) -> None:
        # They are the same in every epoch.
        self.held_out = list(self.setup.validation or ())
        self.average = AveragedWeights(self.learner, self.setup.ema_decay)

    def train(self) -> TrainingResult:
        """Run the epochs and give the learner what the best one left, itself or a mean."""
        config = self.setup.config
        schedule = Schedule(config.schedule, config.epochs)
        optimizer = _quick_optimizer(config, self.learner.classifier_parameters())
        stopper = _Stopper(self.setup.stopping) if self.setup.stopping else None
        best, best_loss, state, stopped = 0, float("inf"), dict[str, Tensor](), "epochs"
        for epoch in range(1, (self.run.last_epoch or config.epochs) + 1):
            schedule.apply(optimizer, epoch)
            training_loss = self._epoch(optimizer, epoch)
            self.average.add()
            with self.average.in_place():
                loss = self._validation_loss(epoch)
                if loss is None or loss < best_loss:
                    best, best_loss, state = epoch, loss or 0.0, cpu_state(self.learner)
            schedule.observe(training_loss if loss is None else loss)
            if stopper is not None and loss is not None and stopper.stops(loss):
                stopped = "early"
                break
        self.learner.load_state_dict(state)
        self.learner.eval()
        return TrainingResult(tuple(self.history), best, stopped)

    def _epoch(self, optimizer: torch.optim.Optimizer | QuickAdam, epoch: int) -> float:
        """Learn from all cases once and return the training loss."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        setup, cases, total = self.setup, 0, torch.zeros((), dtype=torch.float64)
        setup.batches.epoch = epoch
        seed_everything(derived_seed(self.run.seed, "epoch", epoch))
        self.learner.train()
        setup.loss.train()
        for batch in setup.batches:
            optimizer.zero_grad()
            logits = self.learner(batch)
            loss = setup.loss(logits, batch.targets)
            loss.backward()
            if setup.config.clip_gradient is not None:
                torch.nn.utils.clip_grad_norm_(parameters, setup.config.clip_gradient)
            optimizer.step()
            cases += len(batch.targets)
            heads = logits.shape[1] if logits.ndim == 3 else 1
            total += loss.detach().double() / heads * len(batch.targets)
        found = float(total) / cases
        record = {"epoch": float(epoch), "lr": optimizer.param_groups[0]["lr"]}
        record["training_loss"] = _finite(found, "training", epoch)
        self.history.append(record)
        return found

    @torch.no_grad()
    def _validation_loss(self, epoch: int) -> float | None:
        """Return the loss of the validation cases and note it; ``None`` where there are none."""
        if self.setup.validation is None:
            return None
        self.learner.eval()
        self.setup.validation_loss.eval()
        total, cases = 0.0, 0
        for batch in self.held_out:
            loss = self.setup.validation_loss(self.learner(batch), batch.targets)
            total, cases = total + float(loss) * len(batch.targets), cases + len(batch.targets)
        found = self.history[-1]["validation_loss"] = _finite(total / cases, "validation", epoch)
        return found


def _quick_optimizer(
    config: TrainingConfig, parameters: list[nn.Parameter]
) -> torch.optim.Optimizer | QuickAdam:
    """Return what `build_optimizer` does, or what moves parameters to the same place sooner."""
    if config.optimizer == "sgd":
        return build_optimizer(config, parameters)
    groups = parameter_groups(parameters, config.lr, config.weight_decay)
    return QuickAdam(groups, decoupled=config.optimizer == "adamw")


def _finite(loss: float, part: str, epoch: int) -> float:
    if not torch.isfinite(torch.tensor(loss)):
        raise TrainingError(
            f"The {part} loss is not finite in epoch {epoch}. "
            "Lower training.lr, or set training.clip_gradient: 1.0."
        )
    return loss
