"""Fit the combiner of decisions on predictions for cases that the heads did not see."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.errors import TrainingError
from medfuse.model import DecisionClassifier, FusedNetwork
from medfuse.training.batches import CaseBatches
from medfuse.training.choices import known_choices, label_folds, most_parts
from medfuse.training.data import TrainingData
from medfuse.training.learner import Learner
from medfuse.training.minimum import to_minimum
from medfuse.training.run import Run
from medfuse.training.stratified import stratified_parts

FOLDS = 5
_PENALTY = 1e-2
_BATCH = 256

FitHeads = Callable[[nn.Module, TrainingData, Run], object]


def fit_out_of_fold(
    models: tuple[nn.Module, nn.Module], data: TrainingData, fit_heads: FitHeads, run: Run
) -> None:
    """Fit the combiner of a trained `DecisionClassifier` in place.

    The heads are trained again on 4 of 5 parts of the training cases, for as many epochs as the
    final heads, and predict the fifth. Cases of one patient stay in one part; classes are spread
    evenly (Wolpert, 1992, doi:10.1016/S0893-6080(05)80023-1).

    Args:
        models: the trained one, and a copy of it before training.
        data: the training cases.
        fit_heads: trains a model on cases; called once per part.
        run: of the final heads; parts are written below its folder.
    """
    trained, untrained = models
    parts = _decisions_out_of_fold(untrained, data, fit_heads, run)
    mask = torch.ones(parts.shape[:2]) if data.mask is None else data.mask.float()
    fit_combiner(_classifier(trained).combine, *known_choices(parts, data.labels, mask))


def fit_combiner(combine: nn.Module, decisions: Tensor, labels: Tensor, mask: Tensor) -> None:
    """Fit a combiner's parameters by penalized maximum likelihood.

    The penalty, 0.01 times the squared distance from where the parameters start (equal weights),
    keeps the combiner near the average where there is little to learn from. It is computed in
    double precision, without which the minimum is known to three digits only, unless the combiner
    takes single precision alone.

    Args:
        combine: module called as ``combine(decisions, mask)``.
        decisions: log-probabilities ``(N, S, K)``.
        labels: ``(N,)`` class indices.
        mask: ``(N, S)`` presence of the sources.

    Raises:
        TrainingError: the loss is not finite.
    """
    try:
        cases = decisions.double(), labels, mask.double()
        fitted = _at_minimum(copy.deepcopy(combine).double(), *cases)
    except Exception:  # noqa: BLE001 - what was wrong beside the precision is so again, and said
        fitted = _at_minimum(copy.deepcopy(combine), decisions, labels, mask)
    combine.load_state_dict(fitted.state_dict())
    combine.eval()


def _at_minimum(combine: nn.Module, decisions: Tensor, labels: Tensor, mask: Tensor) -> nn.Module:
    """Return the combiner with its parameters at the minimum; as precise as it and its cases."""
    parameters = [p for p in combine.train().parameters() if p.requires_grad]
    start = [p.detach().clone() for p in parameters]

    def loss() -> Tensor:
        logits, _ = combine(decisions, mask)
        distance = sum(((p - s) ** 2).sum() for p, s in zip(parameters, start, strict=True))
        return F.cross_entropy(logits, labels) + _PENALTY * distance

    if not np.isfinite(to_minimum(parameters, loss)):
        raise TrainingError("The combiner of decisions has no finite fit. Use fusion: average.")
    return combine


def grouped_folds(data: TrainingData, folds: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(training rows, held-out rows)``; a patient is on one side, classes are spread.

    Raises:
        TrainingError: there are too few patients.
    """
    groups, labels = data.groups.numpy(), data.labels.numpy()
    several = labels.ndim == 2
    largest = most_parts(data) if several else int(np.bincount(labels).max())
    number = min(folds, len(np.unique(groups)), largest)
    if number < 2:
        raise TrainingError(
            "A fitted combiner needs cases of at least 2 patients. Use fusion: average."
        )
    held_out = (
        label_folds(data, number, seed)
        if several
        else stratified_parts(labels, groups, number, seed)
    )
    every = np.arange(len(data))
    for rows in held_out:
        yield torch.from_numpy(np.setdiff1d(every, rows)), torch.from_numpy(rows)


def _decisions_out_of_fold(
    untrained: nn.Module, data: TrainingData, fit_heads: FitHeads, run: Run
) -> Tensor:
    number = len(_classifier(untrained).heads)
    decisions = torch.zeros(len(data), number, len(run.classes))
    for fold, (train, held_out) in enumerate(grouped_folds(data, FOLDS, run.seed)):
        model = copy.deepcopy(untrained)
        _classifier(model).combine = _NoCombiner()
        folder = None if run.folder is None else run.folder / "out_of_fold" / str(fold)
        fit_heads(model, data.select(train), replace(run, folder=folder, fold=fold + 1))
        decisions[held_out] = _decide(model, data.select(held_out), run)
    return decisions


@torch.no_grad()
def _decide(model: nn.Module, data: TrainingData, run: Run) -> Tensor:
    live = frozenset(i for i, x in enumerate(data.features) if x is None)
    learner = Learner(model, live, data.activations).eval()
    classifier = _classifier(model)
    batches = CaseBatches(data, len(run.classes), _BATCH, run.shard)
    return torch.cat([classifier.decisions(learner.features(batch)) for batch in batches])


def _classifier(model: nn.Module) -> DecisionClassifier:
    classifier = model.classifier if isinstance(model, FusedNetwork) else model
    return cast("DecisionClassifier", classifier)


class _NoCombiner(nn.Module):
    """Stands in while only heads are trained: has no parameters, so nothing is fitted."""

    def forward(self, decisions: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Return the geometric mean."""
        return (decisions * mask[:, :, None]).mean(1), None
