"""Make the features of one domain look like those of another: CORAL, and standardization.

Both take features alone, no label: those of the domain that is learned from, and unlabeled ones of
the domain that the model is meant for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import EvaluationError

Floats = NDArray[np.float64]

RIDGE = 1.0


@dataclass(frozen=True, eq=False)
class Affine:
    """``(x - shift) @ matrix + offset`` of features.

    Attributes:
        shift: ``(F,)``.
        matrix: ``(F, F)``, or ``(F,)`` for its diagonal.
        offset: ``(F,)``.
    """

    shift: Floats
    matrix: Floats
    offset: Floats

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features ``(..., F)`` mapped; NaN stays NaN."""
        centered = values.astype(np.float64) - self.shift
        turned = centered * self.matrix if self.matrix.ndim == 1 else centered @ self.matrix
        return np.asarray(turned + self.offset, dtype=np.float32)

    def in_scale_of(self, scale: Affine) -> Affine:
        """Return this map with its result measured as before ``scale``, whose matrix is diagonal.

        What a classifier learns from features mapped so holds for others that are not mapped.
        """
        offset = (self.offset - scale.offset) / scale.matrix + scale.shift
        return Affine(self.shift, self.matrix / scale.matrix, offset)


def coral_toward(learned: Floats, target: Floats, ridge: float = RIDGE) -> Affine:
    """Return the map of `coral` that leaves the target's features as they are.

    Raises:
        EvaluationError: a domain has fewer than two cases.
    """
    of_learned, of_target = coral(learned, target, ridge)
    return of_learned.in_scale_of(of_target)


def standardization_toward(values: Floats, target: Floats) -> Affine:
    """Return the map that gives features of a site the target's means and standard deviations.

    Raises:
        EvaluationError: the site or the target has fewer than two cases.
    """
    return standardization(values).in_scale_of(standardization(target))


def distance_of_means(values: Floats, target: Floats) -> float:
    """Return how far the means of two domains are apart, in standard deviations.

    The standardized mean difference, with the pooled deviation of both domains, as the root mean
    square over the features ``(N, F)`` and ``(M, F)``; 0 where they agree.
    """
    spread = np.sqrt((values.var(0) + target.var(0)) / 2)
    apart = (values.mean(0) - target.mean(0)) / np.where(spread > 0, spread, 1.0)
    return float(np.sqrt((apart**2).mean()))


def coral(learned: Floats, target: Floats, ridge: float = RIDGE) -> tuple[Affine, Affine]:
    """Return maps that give the training features the mean and covariance of the target.

    Features are first standardized over the training cases, so that the ridge means the same for
    all; the training cases are whitened by their own covariance plus the ridge, then colored by
    that of the target plus the ridge (Sun et al., 2016, doi:10.1609/aaai.v30i1.10306, where the
    ridge is 1). Unlike there, the mean is that of the target too.

    Args:
        learned: ``(N, F)``, of the cases that are learned from.
        target: ``(M, F)``, of cases without labels.
        ridge: added to the diagonal of both covariances.

    Returns:
        the map of the training cases, and that of the target's cases, which are only standardized.

    Raises:
        EvaluationError: a domain has fewer than two cases.
    """
    _require_cases(learned, target)
    mean, spread = learned.mean(0), _spread(learned)
    source, other = (learned - mean) / spread, (target - mean) / spread
    eye = ridge * np.eye(source.shape[1])
    whiten = _power(np.atleast_2d(np.cov(source, rowvar=False)) + eye, -0.5)
    color = _power(np.atleast_2d(np.cov(other, rowvar=False)) + eye, 0.5)
    turn = (whiten @ color) / spread[:, None]
    return Affine(mean, turn, other.mean(0)), Affine(mean, 1 / spread, np.zeros_like(mean))


def standardization(values: Floats) -> Affine:
    """Return the map that gives features mean 0 and standard deviation 1.

    A feature that is constant becomes 0. Fitted at each site apart, it takes away what differs
    between scanners in mean and scale.

    Args:
        values: ``(N, F)``, of one site.

    Raises:
        EvaluationError: the site has fewer than two cases.
    """
    _require_cases(values)
    return Affine(values.mean(0), 1 / _spread(values), np.zeros(values.shape[1]))


def _spread(values: Floats) -> Floats:
    spread = values.std(0)
    return np.asarray(np.where(spread > 0, spread, 1.0))


def _power(matrix: Floats, exponent: float) -> Floats:
    """Return a power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * values**exponent) @ vectors.T)


def _require_cases(*domains: Floats) -> None:
    fewest = min(len(domain) for domain in domains)
    if fewest < 2:
        raise EvaluationError(
            f"a site or cohort has {fewest} case with this input, expected two or more to adapt to."
        )
