"""Classic classifiers on banked features, tuned inside their training cases."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medfuse.training.choices import UNKNOWN, label_folds
from medfuse.training.data import TrainingData
from medfuse.training.out_of_fold import grouped_folds
from medfuse.training.row_space import in_row_space

Floats: TypeAlias = NDArray[np.floating]
Rows: TypeAlias = NDArray[np.int64]
Path: TypeAlias = Callable[
    [Floats, Floats, Rows, tuple[Sequence[float], int]], Iterator[NDArray[np.float64]]
]
BaselineName = Literal["k-NN", "logistic regression"]
BASELINES: tuple[BaselineName, ...] = ("k-NN", "logistic regression")

NEIGHBORS = (1, 3, 5, 9, 15, 25, 45)
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_INNER_FOLDS = 3


@dataclass(frozen=True)
class BaselineResult:
    """What a classic classifier says of new cases.

    Attributes:
        probabilities: ``(M, K)``; of L labels ``(M, L)``.
        chosen: the number of neighbors or the strength C that was the best inside.
    """

    probabilities: NDArray[np.float64]
    chosen: float


def fit_baseline(
    name: BaselineName, data: TrainingData, new: TrainingData, num_classes: int, seed: int
) -> BaselineResult:
    """Train on ``data`` and return what is said of ``new``, both by their clean views.

    Features of all sources side by side, standardized by the training cases (0, their mean, for
    a missing input), slices and tokens averaged. The number of neighbors (Euclidean, votes
    smoothed by one vote that is spread over the classes), or the strength C of the L2 penalty,
    is the one with the lowest log loss on three inner folds grouped by patient, so that nothing is
    tuned on ``new``. C is raised tenfold from 1e-4 to 1 until that loss rises.

    Several labels are choices of two, each learned from the cases whose answer to it is known
    (binary relevance; Tsoumakas and Katakis, 2007, doi:10.4018/jdwm.2007070101): votes for each
    label, a regression for each label. All share the number, or the strength, with the lowest log
    loss of all known answers, for a rare label alone has too few. A label that has one answer only
    gets its share, smoothed by one vote.

    Args:
        name: which classifier.
        data: the training cases.
        new: other cases of the same sources.
        num_classes: K; a class without a training case gets the probability 0 or a part of a vote.
        seed: of the inner folds.
    """
    paths = {"k-NN": _neighbors, "logistic regression": _logistic}
    path, grid = paths[name], NEIGHBORS if name == "k-NN" else STRENGTHS
    labels = data.labels.numpy()
    if labels.ndim == 2:
        path = partial(_of_labels, path)
    chosen = grid[0]
    if inner := _inner_folds(data, seed):
        losses = _losses(path, data, inner, (grid, num_classes))
        if name == "logistic regression":
            losses = _until_it_rises(losses)
        chosen = grid[int(np.argmin(list(losses)))]
    probabilities = next(path(*_standardized(data, new), labels, ([chosen], num_classes)))
    return BaselineResult(probabilities, float(chosen))


def _losses(
    path: Path,
    data: TrainingData,
    inner: Sequence[tuple[Rows, Rows]],
    tried: tuple[Sequence[float], int],
) -> Iterator[float]:
    """Yield the mean log loss of the inner folds for each setting; nothing is trained before."""
    labels = data.labels.numpy()
    found = [
        path(*_standardized(data.select(train), data.select(held_out)), labels[train], tried)
        for train, held_out in inner
    ]
    for told in zip(*found, strict=True):
        pairs = zip(told, inner, strict=True)
        yield float(np.mean([_log_loss(p, labels[held_out]) for p, (_, held_out) in pairs]))


def _until_it_rises(losses: Iterator[float]) -> Iterator[float]:
    """Yield losses up to the first that is above the one before it."""
    before = float("inf")
    for loss in losses:
        yield loss
        if loss > before:
            return
        before = loss


def _inner_folds(data: TrainingData, seed: int) -> list[tuple[Rows, Rows]]:
    """Return pairs of training and held-out rows; none where there are too few patients."""
    if data.labels.ndim == 2:
        if len(np.unique(data.groups.numpy())) < _INNER_FOLDS:
            return []
        parts = label_folds(data, _INNER_FOLDS, seed)
        return [(np.setdiff1d(np.arange(len(data)), part), part) for part in parts]
    if not _can_tune(data):
        return []
    return [(a.numpy(), b.numpy()) for a, b in grouped_folds(data, _INNER_FOLDS, seed)]


def _can_tune(data: TrainingData) -> bool:
    """Tell whether every inner fold has cases of two classes to learn from."""
    labels, groups = data.labels.numpy(), data.groups.numpy()
    patients = [len(np.unique(groups[labels == k])) for k in np.unique(labels)]
    return len(patients) > 1 and min(patients) >= _INNER_FOLDS


def _standardized(data: TrainingData, new: TrainingData) -> tuple[Floats, Floats]:
    from sklearn.preprocessing import StandardScaler

    blocks: list[tuple[Floats, Floats]] = []
    for i in range(len(data.features)):
        train, other = (_vectors(cases, i) for cases in (data, new))
        present = [
            np.ones(len(c), dtype=bool) if c.mask is None else c.mask[:, i].numpy() > 0
            for c in (data, new)
        ]
        scaler = StandardScaler().fit(train[present[0]])
        pair = [
            scaler.transform(x) * p[:, None] for x, p in zip((train, other), present, strict=True)
        ]
        blocks.append((pair[0], pair[1]))
    return np.hstack([b[0] for b in blocks]), np.hstack([b[1] for b in blocks])


def _vectors(data: TrainingData, source: int) -> Floats:
    banked = data.features[source]
    assert banked is not None, "baselines read banked features"
    clean = banked[:, 0].float()
    return np.asarray((clean.mean(1) if clean.ndim == 3 else clean).numpy())


def _of_labels(
    path: Path, train: Floats, new: Floats, answers: Rows, tried: tuple[Sequence[float], int]
) -> Iterator[NDArray[np.float64]]:
    """Yield what ``path`` says of each label as a choice of two, ``(M, L)`` for each setting."""
    columns = [_of_label(path, train, new, column, tried[0]) for column in answers.T]
    for one in zip(*columns, strict=True):
        yield np.stack(one, axis=1)


def _of_label(
    path: Path, train: Floats, new: Floats, answers: Rows, grid: Sequence[float]
) -> Iterator[NDArray[np.float64]]:
    known = answers != UNKNOWN
    held, count = int((answers == 1).sum()), int(known.sum())
    if held in (0, count):
        return repeat(np.full(len(new), (held + 0.5) / (count + 1)), len(grid))
    return (found[:, 1] for found in path(train[known], new, answers[known], (grid, 2)))


def _neighbors(
    train: Floats, new: Floats, labels: NDArray[np.int64], tried: tuple[Sequence[float], int]
) -> Iterator[NDArray[np.float64]]:
    from sklearn.neighbors import NearestNeighbors

    grid, num_classes = tried
    most = min(int(max(grid)), len(train))
    nearest = NearestNeighbors(n_neighbors=most, algorithm="brute").fit(train)
    votes = np.eye(num_classes)[labels[nearest.kneighbors(new, return_distance=False)]]
    counts = votes.cumsum(1)
    for k in grid:
        asked = min(int(k), most)
        yield (counts[:, asked - 1] + 1 / num_classes) / (asked + 1)


def _logistic(
    train: Floats, new: Floats, labels: NDArray[np.int64], tried: tuple[Sequence[float], int]
) -> Iterator[NDArray[np.float64]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    grid, num_classes = tried
    if len(np.unique(labels)) > 2:  # two take products with one column, which are quick
        train, new = in_row_space(train, new)
    model = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)
    for strength in grid:  # rising, so that each starts near its end
        with warnings.catch_warnings():
            # An optimum to three digits is enough beside what the cases leave open.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=strength).fit(train, labels)
        probabilities = np.zeros((len(new), num_classes))
        probabilities[:, model.classes_] = model.predict_proba(new)
        yield probabilities / probabilities.sum(1, keepdims=True)


def _log_loss(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    if labels.ndim == 2:
        told = np.where(labels == 1, probabilities, 1 - probabilities)[labels != UNKNOWN]
        return float(-np.log(np.clip(told, 1e-7, 1)).mean())
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(own, 1e-7, 1)).mean())
