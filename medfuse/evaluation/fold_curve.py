"""Learning curves on folds: candidates trained on few cases, then on more, tested at every size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.candidates import Candidate, FoldCases
from medfuse.evaluation.fold_area import FoldArea, area_difference
from medfuse.evaluation.label_order import evenly_labeled
from medfuse.evaluation.paired import holm


@dataclass(frozen=True, eq=False)
class CurvePoint:
    """One candidate, trained on so many cases of each fold's training part, several times.

    Attributes:
        name: of the candidate.
        cases: that it learned from; the mean over folds where all are taken.
        draws: its predictions out of fold, one for each draw of the training cases.
    """

    name: str
    cases: int
    draws: tuple[Candidate, ...]


def fold_curve(
    cases: FoldCases, points: Sequence[CurvePoint], fused: str, single: str, confidence: float
) -> dict[str, Any]:
    """Return the curves, and the gain of ``fused`` over ``single`` at each size, as JSON data.

    A value is the mean over the draws of the AUROC over folds; ``low`` and ``high`` are the lowest
    and the highest draw. The gain at each size is tested by DeLong's contrast of the mean over
    the draws, by patient, and its p-values corrected by Holm's method over the sizes.

    Args:
        cases: labels, patients, folds.
        points: of every candidate at every size.
        fused: name of the fused candidate.
        single: name of the one that it is compared with.
        confidence: of the intervals of the gain.
    """
    curves: dict[str, list[dict[str, float]]] = {}
    fits = []
    for point in points:
        areas = _areas(cases, point, cases.visible_to(*point.draws))
        values = [area.value for area in areas]
        row = {"cases": point.cases, "value": float(np.mean(values))}
        row |= {"low": float(min(values)), "high": float(max(values))}
        curves.setdefault(point.name, []).append(row)
        fits += [row for draw, area in enumerate(areas) for row in _fits(cases, point, draw, area)]
    return {
        "draws": max((len(point.draws) for point in points), default=0),
        "points": curves,
        "fused": fused,
        "single": single,
        "gains": _gains(cases, points, (fused, single), confidence),
        "fits": fits,
    }


def nested_order(
    labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Return an order of the cases in which any first N have the classes in proportion.

    Whole patients follow each other, so that few cases are also of few patients, and the first N
    are among the first N + 1: training sets of a learning curve are nested.

    Args:
        labels: class of each case, ``(N,)``; of several labels the answers ``(N, L)``, which are
            kept in proportion as by `evenly_labeled`.
        groups: patient of each case, ``(N,)``.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    ids, first = np.unique(groups, return_index=True)
    if labels.ndim == 2:
        return _by_patient(evenly_labeled(labels, groups, rng), ids, groups)
    of_group = labels[first]
    place = np.empty(len(ids))
    for label in np.unique(of_group):
        own = np.flatnonzero(of_group == label)
        ranks = rng.permutation(len(own))
        place[own] = (ranks + rng.random(len(own))) / len(own)
    return _by_patient(np.argsort(place, kind="stable"), ids, groups)


def _by_patient(
    ordered: NDArray[np.int64], ids: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the cases, patient after patient in the order of positions in ``ids``."""
    position = np.empty(len(ids), dtype=np.int64)
    position[ordered] = np.arange(len(ids))
    return np.argsort(position[np.searchsorted(ids, groups)], kind="stable")


def _areas(cases: FoldCases, point: CurvePoint, rows: NDArray[np.bool_]) -> list[FoldArea]:
    return [cases.scored(one, rows).area for one in point.draws]


def _mean(areas: Sequence[FoldArea]) -> FoldArea:
    return FoldArea(
        float(np.mean([area.value for area in areas])),
        np.mean([area.by_fold for area in areas], axis=0),
        np.mean([area.influence for area in areas], axis=0),
    )


def _fits(cases: FoldCases, point: CurvePoint, draw: int, area: FoldArea) -> list[dict[str, Any]]:
    """Return the scores of one draw, fold by fold."""
    candidate = point.draws[draw]
    right = cases.right(candidate)
    seen = cases.visible_to(candidate)
    if cases.multilabel:
        right = right[:, cases.measured()]
    return [
        {
            "candidate": point.name,
            "cases": point.cases,
            "draw": draw,
            "fold": int(fold),
            "auroc": float(value) if np.isfinite(value) else None,
            "accuracy": _accuracy(right[seen & (cases.folds == fold)]),
        }
        for fold, value in zip(np.unique(cases.folds[seen]), area.by_fold, strict=True)
    ]


def _accuracy(right: NDArray[np.float64]) -> float | None:
    """Return the share that is right; of several labels the mean over those with an answer."""
    if right.ndim == 1:
        return float(right.mean())
    columns = [column[np.isfinite(column)] for column in right.T]
    shares = [column.mean() for column in columns if len(column)]
    return float(np.mean(shares)) if shares else None


def _gains(
    cases: FoldCases, points: Sequence[CurvePoint], names: tuple[str, str], confidence: float
) -> list[dict[str, Any]]:
    """Return the difference at each size, on the cases that both can see."""
    found = {(point.name, point.cases): point for point in points}
    sizes = sorted({size for name, size in found if name == names[0]})
    rows = []
    for size in sizes:
        both = [found[name, size] for name in names if (name, size) in found]
        seen = cases.visible_to(*(one for point in both for one in point.draws))
        if len(both) == 2 and seen.any():
            means = [_mean(_areas(cases, point, seen)) for point in both]
            gap = area_difference(means[0], means[1], confidence)
            rows.append({"cases": size, **asdict(gap), "p_adjusted": None})
    tested = [row for row in rows if row["p_value"] is not None]
    for row, value in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_adjusted"] = value
    return rows
