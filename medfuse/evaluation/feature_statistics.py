"""Fit `SourceDistance` on training cases, and its limit on cases that were held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import eigh

from medfuse.errors import EvaluationError
from medfuse.evaluation.conformal import conformal_quantile
from medfuse.evaluation.feature_distance import (
    LEVELS,
    FeatureDistances,
    SourceDistance,
    tensors_of,
)
from medfuse.evaluation.feature_kernel import shrinkage
from medfuse.storage import atomic_path

AXES = 256
FOLDS = 5
_CASES_PER_AXIS = 4


@dataclass(frozen=True, eq=False)
class FeatureCases:
    """Cases with the features of S sources.

    Attributes:
        features: per source ``(N, F)``; rows of cases without its input are NaN.
        labels: ``(N,)`` class of each case; ``None`` takes all cases for one class.
        patients: one value per case; empty if every case is a patient of its own.
    """

    features: Sequence[np.ndarray]
    labels: np.ndarray | None = None
    patients: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.features[0])

    def rows(self, chosen: np.ndarray) -> FeatureCases:
        """Return the cases at the positions ``chosen``."""
        return FeatureCases(
            [x[chosen] for x in self.features],
            None if self.labels is None else self.labels[chosen],
            [self.patients[i] for i in chosen] if len(self.patients) else (),
        )


def fit_distance(
    features: np.ndarray, labels: np.ndarray | None = None, label: str = ""
) -> SourceDistance:
    """Return the distance from these features, without a limit.

    The covariance within classes is shrunk as Ledoit and Wolf do (2004,
    doi:10.1016/S0047-259X(03)00096-4). At most 256 axes are kept, and no more than a quarter of
    the cases; the variance of what is left is spread evenly.

    Of fewer than 2 cases, which tell nothing, it is the distance from 0 with variances of 1, as
    standardized features have.

    Args:
        features: ``(N, F)``; rows with NaN are left out.
        labels: ``(N,)``; ``None`` for a single mean.
        label: of the source.
    """
    known = ~np.isnan(features).any(1)
    rows = np.asarray(features[known], dtype=np.float64)
    if len(rows) < 2:
        return _standard(label, features.shape[1])
    group = np.zeros(len(rows), np.int64) if labels is None else np.asarray(labels)[known]
    classes, index = np.unique(group, return_inverse=True)
    means = np.stack([rows[group == c].mean(0) for c in classes])
    within = rows - means[index]
    count, width = within.shape
    lengths = (within**2).sum(1)
    average = float(lengths.sum()) / count / width
    most = min(AXES, count // _CASES_PER_AXIS, width - 1)
    axes, spread, squares = _main_axes(within, most)
    amount = shrinkage(lengths, squares, width)
    variances = (1 - amount) * spread / count + amount * average
    rest = (average * width - variances.sum()) / (width - most) if width > most else average
    floor = max(1e-6 * average, 1e-12)
    return SourceDistance(
        label=label,
        means=means.astype(np.float32),
        axes=axes.astype(np.float32),
        variances=np.maximum(variances, floor).astype(np.float32),
        rest=max(float(rest), floor),
    )


def held_out_distances(cases: FeatureCases, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Return the distance of every case from the cases of the other folds, ``(N, S)``.

    Patients stay in one fold. NaN where a case lacks the source's input.

    Raises:
        EvaluationError: there are fewer than 2 patients.
    """
    found = np.full((len(cases), len(cases.features)), np.nan)
    for rest, held_out in _folds(cases, folds, seed):
        known, tested = cases.rows(rest), cases.rows(held_out)
        for number, (x, y) in enumerate(zip(known.features, tested.features, strict=True)):
            found[held_out, number] = fit_distance(x, known.labels)(y)
    return found


def with_limits(
    sources: Sequence[SourceDistance],
    distances: np.ndarray,
    acceptance: float,
    patients: Sequence[Any] = (),
) -> tuple[SourceDistance, ...]:
    """Return the sources with limits that all sources together keep.

    Each limit is the quantile of its source; then all are moved by one factor, so that a new case
    of the same kind stays within every limit with probability ``acceptance``. Without that, more
    sources would mean more false alarms. A source whose features are the same in every case has
    no limit: it is infinite, for a rounding error would be beyond any other.

    Args:
        sources: of `fit_distance`.
        distances: ``(N, S)`` of cases they were not fitted on, NaN where an input is missing.
        acceptance: in (0, 1), for example 0.95.
        patients: of these cases.
    """
    who = np.array([str(value) for value in patients] or np.arange(len(distances)).astype(str))
    known = ~np.isnan(distances)
    limits = np.array(
        [
            conformal_quantile(column[there], acceptance, who[there])
            for column, there in zip(distances.T, known.T, strict=True)
        ]
    )
    limits[limits == 0] = np.inf
    seen = known.any(1)
    ratios = np.where(known, distances / limits, 0.0)[seen].max(1)
    factor = conformal_quantile(ratios, acceptance, who[seen])
    factor = factor if np.isfinite(factor) and factor > 0 else 1.0
    return tuple(
        replace(
            source,
            limit=float(limit * factor),
            quantiles=_quantiles(column[there]),
        )
        for source, limit, column, there in zip(sources, limits, distances.T, known.T, strict=True)
    )


def write_distances(distances: FeatureDistances, path: Path | str, mode: int = 0o644) -> None:
    """Write a safetensors file that `load_distances` reads, whole or not at all."""
    from safetensors.numpy import save_file

    arrays, text = tensors_of(distances)
    with atomic_path(path, mode) as temporary:
        save_file(arrays, temporary, metadata=text)


def _standard(label: str, width: int) -> SourceDistance:
    nothing = np.zeros((0, width), np.float32)
    return SourceDistance(label, np.zeros((1, width), np.float32), nothing, np.zeros(0), 1.0)


def _main_axes(within: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the axes along which centered cases ``(N, F)`` spread most.

    They are eigenvectors of the inner products of the features, or of the cases where these are
    fewer: many times faster than all singular vectors, of which few are kept.

    Returns:
        orthonormal axes ``(most, F)``, the largest spread first; the sum of squares along each;
        and the sum of the squared inner products.
    """
    wide = within.shape[1] > len(within)
    products = within @ within.T if wide else within.T @ within
    squares, last = float((products**2).sum()), len(products) - 1
    if most == 0:
        return np.zeros((0, within.shape[1])), np.zeros(0), squares
    values, vectors = eigh(products, subset_by_index=(last - most + 1, last), driver="evr")
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    # Of cases that are alike there are fewer axes than asked for: QR makes up the others.
    axes = np.linalg.qr(within.T @ vectors)[0] if wide else vectors
    return axes.T, values, squares


def _quantiles(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.zeros_like(LEVELS)
    return np.asarray(np.quantile(values, LEVELS))


def _folds(cases: FeatureCases, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import GroupKFold

    who = [str(value) for value in cases.patients] or list(map(str, range(len(cases))))
    names, index = np.unique(who, return_inverse=True)
    if len(names) < 2:
        raise EvaluationError(f"{len(names)} patients, expected at least 2 to hold some out.")
    shuffled = np.random.default_rng(seed).permutation(len(names))[index]
    yield from GroupKFold(min(folds, len(names))).split(shuffled, groups=shuffled)
