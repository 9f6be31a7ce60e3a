"""Train a classifier, and the sources that are not frozen."""

from __future__ import annotations

import copy
import logging
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medfuse.backbones.slices import SlicedSource
from medfuse.config import TrainingConfig
from medfuse.errors import TrainingError
from medfuse.model import DecisionClassifier, FusedNetwork
from medfuse.processes import Shard
from medfuse.storage import digest_of
from medfuse.threads import one_thread
from medfuse.training.checkpoint import LAST, load_checkpoint
from medfuse.training.data import TrainingData
from medfuse.training.label_bias import begin_at_shares
from medfuse.training.learner import Learner
from medfuse.training.out_of_fold import fit_out_of_fold
from medfuse.training.quick_layers import quick_layers
from medfuse.training.result import TrainingResult
from medfuse.training.run import Run
from medfuse.training.seeds import derived_seed, seed_everything
from medfuse.training.shared_batch import spread_state

if TYPE_CHECKING:
    from medfuse.training.session import Session
    from medfuse.training.setup import Setup

_LOG = logging.getLogger("medfuse")


def fit(
    model: nn.Module,
    data: TrainingData,
    validation: TrainingData | None,
    config: TrainingConfig,
    run: Run,
) -> TrainingResult:
    """Train ``model`` in place and return how it went.

    With validation cases, the epoch of the smallest validation loss is kept; without, all epochs
    run and the last is kept. What an epoch is judged by and leaves is the mean over the epochs up
    to it, where ``config.ema_decay`` asks for one (`AveragedWeights`). A run that was interrupted
    goes on after its last checkpoint and ends bit for bit as if it had not been (same machine, same
    number of threads). A run that is complete returns its result at once. The combiner of a
    `DecisionClassifier` that has parameters is fitted afterwards, on predictions out of fold.

    Args:
        model: `FeatureClassifier` or `DecisionClassifier`; or `FusedNetwork` whose sources
            without features in ``data``, or named in ``run.unfreeze``, learn from images. It must
            be initialized the same way when a run is resumed.
        data: the training cases.
        validation: decides when to stop; may be ``None`` or empty.
        config: how to learn.
        run: where to write, which seed.

    Raises:
        TrainingError: nothing to learn, a checkpoint of another run, a loss that is not finite.
        OutputError: a checkpoint cannot be written.
    """
    used = _sources_used(model, data, run)
    run = run if used else replace(run, shard=Shard())
    _check(model, data, config, run)
    untrained = copy.deepcopy(model) if combines_by_fit(model) else None
    # A head's matrices are small: threads that wait for each other make it many times slower on
    # a busy machine, and gain little on an idle one.
    with nullcontext() if used else one_thread():
        learner = Learner(model, used, data.activations)
        _check_shared(learner, run)
        with quick_layers(learner.classifier):
            session, resumed_from = _prepare(learner, data, validation, config, run)
            session.train()
            session.keep_best()
            session.learner.cpu()
    result = TrainingResult(
        tuple(session.history), session.best.epoch, session.stopped, resumed_from
    )
    if untrained is not None:
        inner = replace(run, last_epoch=result.best_epoch, attach_handlers=None)
        fit_out_of_fold((model, untrained), data, lambda m, d, r: fit(m, d, None, config, r), inner)
    return result


def _prepare(
    learner: Learner,
    data: TrainingData,
    validation: TrainingData | None,
    config: TrainingConfig,
    run: Run,
) -> tuple[Session, int]:
    """Return a session ready to go on, and the epoch that it goes on from."""
    from medfuse.training.session import Session
    from medfuse.training.setup import build_setup

    setup = build_setup(data, validation, config, run)
    identity = _identity(data, validation, config, run)
    folder = run.checkpoints
    state = load_checkpoint(folder / LAST, identity) if folder and run.resume else None
    state = run.shard.told(state)
    learner.to(setup.device)
    if run.shard.count > 1:
        spread_state(run.shard, learner)
    if state is None:
        _start(learner, data, setup, run)
    session = Session(learner, setup, run, identity)
    if state is None:
        return session, 0
    session.restore(state)
    epoch = len(session.history)
    if not session.stopped:
        _LOG.info("resuming training after epoch %d of %d", epoch, config.epochs)
    return session, epoch


def _start(learner: Learner, data: TrainingData, setup: Setup, run: Run) -> None:
    from medfuse.training.batches import CaseBatches

    if setup.device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    seed_everything(derived_seed(run.seed, "start"))
    size = setup.batches.batch_size
    learner.standardize(data, CaseBatches(data, len(run.classes), size, run.shard))
    begin_at_shares(learner.classifier, data.labels, setup.loss)


def _sources_used(model: nn.Module, data: TrainingData, run: Run) -> frozenset[int]:
    used = run.learning_sources(data.features)
    if used and not isinstance(model, FusedNetwork):
        raise TrainingError(
            f"Source {min(used) + 1} learns from images, so the whole network must be given, "
            f"found a {type(model).__name__}."
        )
    if used and data.load_view is None:
        raise TrainingError(f"Source {min(used) + 1} learns from images, but none were given.")
    return used


def _check(model: nn.Module, data: TrainingData, config: TrainingConfig, run: Run) -> None:
    if len(run.classes) < 2:
        raise TrainingError(f"Found {len(run.classes)} class names, expected at least 2.")
    late = [u.after for u in run.unfreeze if u.after >= config.epochs]
    if late:
        raise TrainingError(
            f"unfreeze.after is {max(late)}, but training has {config.epochs} epochs. "
            "Set it lower, or train longer."
        )
    classifier = model.classifier if isinstance(model, FusedNetwork) else model
    parts = len(cast("DecisionClassifier", classifier).standardize)
    if parts != len(data.features):
        raise TrainingError(
            f"The network has {parts} sources, but the cases have {len(data.features)}."
        )


def _check_shared(learner: Learner, run: Run) -> None:
    """Refuse what several processes would not train as one does."""
    if run.shard.count == 1:
        return
    for number, source in learner.sources.items():
        if isinstance(source, SlicedSource) and _moves_batch_norm(source.source):
            raise TrainingError(
                f"Source {int(number) + 1} learns with batch norm on the slices of volumes, which "
                "one process does slab by slab and several cannot. Set batch_norm: affine for it, "
                "or train with one process."
            )


def _moves_batch_norm(source: Any) -> bool:
    return source.batch_norm == "train" and any(isinstance(m, _BatchNorm) for m in source.modules())


def combines_by_fit(model: nn.Module) -> bool:
    """Return whether the model combines decisions by parameters that are fitted afterwards."""
    classifier = model.classifier if isinstance(model, FusedNetwork) else model
    if not isinstance(classifier, DecisionClassifier):
        return False
    return any(True for _ in classifier.combine.parameters())


def _identity(
    data: TrainingData, validation: TrainingData | None, config: TrainingConfig, run: Run
) -> str:
    # Not where it is computed: a run that was begun on a GPU may be ended without one.
    section = {k: v for k, v in run.configuration.get("training", {}).items() if k != "device"}
    facts = {
        "configuration": {**run.configuration, "training": section},
        "training": config.model_dump(mode="json", exclude={"device"}),
        "classes": list(run.classes),
        "seed": run.seed,
        "last_epoch": run.last_epoch,
        "rates": [[i, r.scale, r.decay] for i, r in sorted(run.rates.items())],
        "unfreeze": [[u.source, u.after, list(u.paths), u.lr_scale] for u in run.unfreeze],
        "cases": data.digest(),
        "validation": "" if validation is None else validation.digest(),
    }
    return digest_of(facts)
