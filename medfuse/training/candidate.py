"""One candidate of a comparison, trained on some of the cases and asked about others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.registry import Registry, load_registry
from medfuse.threads import one_thread
from medfuse.training.baselines import BaselineName, fit_baseline
from medfuse.training.calibrate import fit_temperature
from medfuse.training.classifier import BuiltClassifier, SourceWidth, build_classifier
from medfuse.training.data import Presence, TrainingData
from medfuse.training.members import fit_members, member_parts, most_members
from medfuse.training.predict import predict_logits
from medfuse.training.quick import fit_quickly
from medfuse.training.run import Run
from medfuse.training.source_heads import with_source_heads

Rows: TypeAlias = NDArray[np.int64]

_PARTS = 5
_FEW = 500


@dataclass(frozen=True, eq=False)
class BankedCases:
    """All cases of a comparison as arrays, so that processes can share them.

    Attributes:
        values: per source ``(N, 1 + V, F)``, or tokens or slices ``(N, 1 + V, T, F)``, NaN where a
            case has not the input.
        slices: per source, how many vectors of slices it gives for a case; 0 for none.
        labels: class of each case, ``(N,)``; of several labels the answers ``(N, L)``, -1 where
            unknown.
        views: how many views each case has.
        groups: patient of each case, as numbers.
        known: ``(N, I)`` which inputs each case has.
        inputs: position of the input that each source reads.
        classes: K names.
    """

    values: tuple[NDArray[np.float32], ...]
    slices: tuple[int, ...]
    labels: Rows
    views: Rows
    groups: Rows
    known: NDArray[np.bool_]
    inputs: tuple[int, ...]
    classes: tuple[str, ...]

    def of(self, sources: tuple[int, ...], rows: Rows) -> TrainingData:
        """Return some of the cases, by some of the sources."""
        used = sorted({self.inputs[i] for i in sources})
        positions = tuple(used.index(self.inputs[i]) for i in sources)
        known = self.known[:, used]
        one = len(used) == 1 and known.all()
        return TrainingData.of(
            [self.values[i][rows] for i in sources],
            self.labels[rows],
            self.views[rows],
            self.groups[rows],
            presence=None if one else Presence(known[rows], positions),
        )

    def visible(self, sources: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return which cases have the input of at least one of the sources, ``(N,)``."""
        return np.asarray(self.known[:, [self.inputs[i] for i in sources]].any(axis=1))


@dataclass(frozen=True)
class Recipe:
    """How candidates learn.

    Attributes:
        head: of every network.
        training: of every network.
        members: networks that are averaged; with several, source heads too if ``training`` asks.
            ``None``: those of ``training`` where there are fewer than 500 cases to learn from, so
            that a fifth of them is too small to stop one network by, and else one.
    """

    head: ComponentConfig
    training: TrainingConfig
    members: int | None = 1

    def members_of(self, cases: int) -> int:
        """Return how many networks learn from so many cases."""
        if self.members is not None:
            return self.members
        return self.training.members if cases < _FEW else 1


@dataclass(frozen=True, eq=False)
class Fit:
    """One candidate to train once.

    Attributes:
        method: a network, or a classic classifier.
        sources: numbers of those it reads.
        fusion: of the network.
        train: cases to learn from.
        test: cases to be asked about.
        seed: of everything that is drawn.
    """

    method: Literal["network"] | BaselineName
    sources: tuple[int, ...]
    fusion: ComponentConfig
    train: Rows
    test: Rows
    seed: int


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a trained candidate says.

    Attributes:
        probabilities: ``(test, K)``, calibrated on held-out training cases.
        held_out_loss: log loss on those, of several labels of the known answers; NaN where there
            are none.
        setting: epochs trained, or what a classic classifier chose.
        logits: of a network for the test cases, ``(test, K)``, not calibrated.
        held_out_logits: the same of the held-out training cases; ``None`` where there are none.
        held_out_labels: of these cases.
    """

    probabilities: NDArray[np.float64]
    held_out_loss: float
    setting: float
    logits: NDArray[np.float32] | None = None
    held_out_logits: NDArray[np.float32] | None = None
    held_out_labels: Rows | None = None


def fit_candidate(cases: BankedCases, fit: Fit, recipe: Recipe) -> Fitted:
    """Train a candidate and return what it says of the test cases.

    A network is what `medfuse train` would make with as many members. One learns from four fifths
    of the training cases, grouped by patient; the fifth part stops it early and gives its
    temperature. Several are an ensemble.

    Raises:
        TrainingError: it cannot learn from these cases.
    """
    seen = cases.visible(fit.sources)
    data = cases.of(fit.sources, fit.train[seen[fit.train]])
    new = cases.of(fit.sources, fit.test)
    if fit.method != "network":
        found = fit_baseline(fit.method, data, new, len(cases.classes), fit.seed)
        return Fitted(found.probabilities, float("nan"), found.chosen)
    with one_thread():
        return _network(cases, fit, recipe, (data, new))


def _network(
    cases: BankedCases, fit: Fit, recipe: Recipe, parts: tuple[TrainingData, TrainingData]
) -> Fitted:
    data, new = parts
    members = min(recipe.members_of(len(fit.train)), most_members(data))
    built = built_for(cases, fit, recipe)
    run = Run(
        classes=cases.classes,
        seed=fit.seed,
        head_loss=built.head.loss,
        hides_inputs=built.fusion.handles_missing,
    )
    training = recipe.training
    if members > 1:
        if training.source_heads:
            built = with_source_heads(built, len(cases.classes))
        modules = [built.fresh(run.seed + number) for number in range(members)]
        ensemble = fit_members(modules, data, training, run, fit_quickly)
        epochs = float(np.mean([result.best_epoch for result in ensemble.results]))
        told = predict_logits(ensemble.classifier, new)
        return calibrated(told, ensemble.held_out_logits, data.labels.numpy(), epochs)
    held_out = held_out_part(data, run.seed)
    rest = np.setdiff1d(np.arange(len(data)), held_out)
    stopping = data.select(held_out) if len(held_out) else None
    module = built.fresh(run.seed)
    epochs = float(fit_quickly(module, data.select(rest), stopping, training, run).best_epoch)
    known = None if stopping is None else predict_logits(module, stopping)
    return calibrated(predict_logits(module, new), known, data.labels.numpy()[held_out], epochs)


def built_for(cases: BankedCases, fit: Fit, recipe: Recipe) -> BuiltClassifier:
    """Return the network of a candidate, not trained."""
    widths = [SourceWidth(cases.values[i].shape[-1], cases.slices[i]) for i in fit.sources]
    return build_classifier(fit.fusion, recipe.head, known_components(), widths, len(cases.classes))


@cache
def known_components() -> Registry:
    """Return the registry of this process."""
    return load_registry()


def held_out_part(data: TrainingData, seed: int) -> Rows:
    """Return the part that stops training; none where a class has a single patient."""
    parts = min(_PARTS, most_members(data))
    return member_parts(data, parts, seed)[0] if parts > 1 else np.zeros(0, dtype=np.int64)


def calibrated(
    logits: NDArray[np.float32],
    held_out: NDArray[np.float32] | None,
    labels: Rows,
    setting: float,
) -> Fitted:
    """Return what a network says, calibrated on the cases that were held out.

    Args:
        logits: of the test cases.
        held_out: logits of the cases that were held out; ``None`` where there are none.
        labels: of these cases.
        setting: epochs trained.
    """
    several, exact = labels.ndim == 2, logits.astype(np.float64)
    if held_out is None:
        return Fitted(_probabilities(exact, several), float("nan"), setting, logits, None, labels)
    known = held_out.astype(np.float64)
    temperature = fit_temperature(known, labels)
    loss = _log_loss(known / temperature, labels)
    told = _probabilities(exact / temperature, several)
    return Fitted(told, loss, setting, logits, held_out, labels)


def _probabilities(logits: NDArray[np.float64], several: bool) -> NDArray[np.float64]:
    return np.asarray(expit(logits) if several else softmax(logits, axis=1))


def _log_loss(logits: NDArray[np.float64], labels: Rows) -> float:
    if labels.ndim == 2:
        known = labels >= 0
        return float(-log_expit(np.where(labels == 1, logits, -logits)[known]).mean())
    scaled = log_softmax(logits, axis=1)
    return float(-scaled[np.arange(len(labels)), labels].mean())
