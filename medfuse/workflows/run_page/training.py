"""Section: how the model learned."""

from __future__ import annotations

from medfuse.config import TrainingConfig
from medfuse.report import Section, Table
from medfuse.workflows.run_page.facts import RunFacts

_STOPPED = {"early": "the validation loss no longer fell", "epochs": "all epochs ran"}


def training_section(facts: RunFacts) -> Section:
    """Return the settings of training, the curves, and the epoch that each member kept."""
    experiment = facts.task.experiment
    several = facts.task.prepared.cohort.multilabel
    return Section(
        anchor="training",
        title="Training",
        facts={**_settings(experiment.training, several), "seed": str(experiment.seed)},
        tables=(_member_table(facts),),
        figures=facts.measured.drawn("training_history"),
    )


def _settings(training: TrainingConfig, several: bool) -> dict[str, str]:
    stopping = training.early_stopping
    return {
        "optimizer": f"{training.optimizer}, learning rate {training.lr:g}, {training.schedule}, "
        f"weight decay {training.weight_decay:g}, batches of {training.batch_size}",
        "loss": training.loss.replace("_", " ") + (" of each label" if several else ""),
        "class imbalance": f"sampler {training.sampler}, class weights "
        f"{_listed(training.class_weights)}",
        "regularization": f"label smoothing {training.label_smoothing:g}, mixup "
        f"{training.mixup:g}, input dropout {training.input_dropout:g}",
        "what is kept": _kept(training.ema_decay),
        "early stopping": f"after {stopping.patience} epochs without a gain of "
        f"{stopping.min_delta:g}"
        if stopping
        else "none",
        "device": training.device + (", mixed precision" if training.mixed_precision else ""),
    }


def _listed(weights: str | list[float]) -> str:
    return weights if isinstance(weights, str) else ", ".join(f"{w:g}" for w in weights)


def _kept(decay: float | str) -> str:
    if not decay:
        return "the network as it was after the epoch kept"
    return (
        f"the mean of the network over the epochs up to the one kept, each counting {decay} times "
        "the next; the validation curves are of this mean"
    )


def _member_table(facts: RunFacts) -> Table:
    rows = [
        [
            str(number),
            f"{result.best_epoch} of {len(result.history)}",
            _STOPPED.get(result.stopped, result.stopped),
        ]
        for number, result in enumerate(facts.model.results, 1)
    ]
    return Table(
        header=["member", "epoch kept", "why it ended"],
        rows=rows,
        caption="The epoch of the smallest validation loss is kept; the last where there is none.",
    )
