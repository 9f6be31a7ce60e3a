"""Train the best single source, the fusion and logistic regression on few cases, then on more."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from medfuse.errors import ConfigError
from medfuse.evaluation.fold_curve import CurvePoint, fold_curve, nested_order
from medfuse.training.candidate import Fit, Fitted
from medfuse.training.seeds import derived_seed
from medfuse.workflows.compare_fits import NamedFit, by_key, named_fit
from medfuse.workflows.compare_plan import PlannedCandidate
from medfuse.workflows.compare_task import CompareTask

_FEWEST = 25
_MOST = 0.75
_log = logging.getLogger(__name__)


def learning_curves(
    task: CompareTask, comparison: Mapping[str, Any], fitted: Mapping[tuple[str, int], Fitted]
) -> dict[str, Any] | None:
    """Return the learning curves; ``None`` where there is no best single source.

    The same draws of training cases (`draws_at`) and the same test folds for every candidate; the
    last point, all training cases, is that of the comparison itself.

    Args:
        task: what to learn from.
        comparison: names the best single source.
        fitted: the fits of the comparison.

    Raises:
        ConfigError: a size that no fold's training part has.
    """
    if comparison["best_single"] is None:
        return None
    chosen = [task.plan[name] for name in _names(task, comparison)]
    sizes = curve_sizes(task)
    named = _fits(task, chosen, sizes)
    found = by_key(named, task.workshop.run(list(named.values()), "learning curve"))
    points = []
    for planned in chosen:
        for size in sizes:
            parts = [
                {fold: found[planned.name, size, draw, fold] for fold in task.folds}
                for draw in range(draws_at(size, task.settings.draws))
            ]
            draws = tuple(task.candidate(planned, part) for part in parts)
            points.append(CurvePoint(planned.name, size, draws))
        whole = {fold: fitted[planned.name, fold] for fold in task.folds}
        points.append(CurvePoint(planned.name, _all(task), (task.candidate(planned, whole),)))
    best, confidence = comparison["best_single"], comparison["confidence"]
    return fold_curve(task.compared.for_tests(), points, task.plan.fused, best, confidence)


def draws_at(size: int, most: int) -> int:
    """Return how often so many training cases are drawn: fewer times the more they are.

    Draws differ the less the more cases each has, and training on them takes the longer. Up to
    25 cases are drawn ``most`` times, 50 half as often, rounded up, and so on; each fold draws
    its own, so that one draw of five folds is already a mean of five training sets.

    Args:
        size: of a draw, in cases.
        most: draws of few cases.
    """
    return math.ceil(most * min(1.0, _FEWEST / size))


def _names(task: CompareTask, comparison: Mapping[str, Any]) -> list[str]:
    """Return what is drawn: the best single source, the fusion, the classic one of all sources."""
    regression = [
        c.name
        for c in task.plan.candidates
        if c.method == "logistic regression" and len(c.sources) == len(task.labels)
    ]
    return [comparison["best_single"], task.plan.fused, *regression]


def default_sizes(cases: int) -> list[int]:
    """Return the sizes of a learning curve: 25, 50, 100 and so on, up to three quarters of all.

    More than that are nearly the same cases as all of them, which the comparison learns from.

    Args:
        cases: in the smallest training part.
    """
    doubled = [_FEWEST * 2**i for i in range(20)]
    return [size for size in doubled if size <= _MOST * cases]


def curve_sizes(task: CompareTask) -> list[int]:
    """Return the sizes that are asked for, else the usual ones.

    Raises:
        ConfigError: a size that no fold's training part has.
    """
    smallest = min(len(task.outside(fold)) for fold in task.folds)
    asked = task.settings.curve or ()
    if not asked:
        return default_sizes(smallest)
    if max(asked) >= smallest:
        raise ConfigError(
            f"--curve asks for {max(asked)} training cases, but a fold has {smallest}, which the "
            "comparison itself learns from. Ask for fewer."
        )
    return sorted(set(asked))


def _all(task: CompareTask) -> int:
    return round(float(np.mean([len(task.outside(fold)) for fold in task.folds])))


def _fits(
    task: CompareTask, chosen: list[PlannedCandidate], sizes: list[int]
) -> dict[tuple[str, int, int, int], NamedFit]:
    """Return every fit by candidate, size, draw and fold."""
    cases = task.workshop.cases
    named = {}
    for fold in task.folds:
        rows = task.outside(fold)
        for draw in range(task.settings.draws):
            seed = derived_seed(task.experiment.seed, "curve", fold, draw)
            order = nested_order(cases.labels[rows], cases.groups[rows], seed)
            for size in (n for n in sizes if draw < draws_at(n, task.settings.draws)):
                few = np.sort(rows[order[:size]])
                for one in chosen:
                    fit = Fit(one.method, one.sources, one.fusion, few, task.inside(fold), seed)
                    named[one.name, size, draw, fold] = named_fit(fit, task.context)
    return named
