"""Features of cases as inner products: what every linear measure of them needs, at any width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medfuse.errors import EvaluationError

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_NEGLIGIBLE = 1e-10


@dataclass(frozen=True, eq=False)
class FeatureKernel:
    """Inner products ``(N, N)`` of the features of N cases, each feature standardized.

    Standardized features are what fusions and heads get. The features are centered and scaled so
    that the mean diagonal element is 1, whatever the width; with more features than cases nothing
    is lost, since a linear model with a ridge penalty is a function of the inner products alone.

    Attributes:
        products: ``(N, N)``, symmetric, rows sum to 0.
        width: features that vary among the cases.
    """

    products: Floats
    width: int

    @classmethod
    def of(cls, features: ArrayLike, name: str = "source") -> FeatureKernel:
        """Return the kernel of features ``(N, F)``.

        Args:
            features: of each case; a constant feature is left out.
            name: of the source, for error texts.

        Raises:
            EvaluationError: not finite, not a table, or no feature varies.
        """
        values = np.asarray(features, dtype=np.float64)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise EvaluationError(
                f"{name}: features have shape {values.shape}, expected (cases, features) of "
                "finite numbers. Check its weights and normalization."
            )
        centered = values - values.mean(axis=0)
        spread = centered.std(axis=0)
        varies = spread > _NEGLIGIBLE * np.abs(values).max(initial=0.0)
        if not varies.any():
            raise EvaluationError(
                f"{name}: gives the same features for all {len(values)} cases, so it cannot tell "
                "them apart. Check its weights and normalization."
            )
        scaled = centered[:, varies] / spread[varies]
        return cls(_scaled(scaled @ scaled.T), int(varies.sum()))

    @classmethod
    def joined(cls, kernels: Sequence[FeatureKernel]) -> FeatureKernel:
        """Return the kernel of several sources side by side, each with the same weight."""
        total = np.sum([kernel.products for kernel in kernels], axis=0)
        return cls(_scaled(total), sum(kernel.width for kernel in kernels))

    def __len__(self) -> int:
        return len(self.products)

    def only(self, rows: Rows) -> FeatureKernel:
        """Return the kernel of some cases, centered on them."""
        part = self.products[np.ix_(rows, rows)]
        return FeatureKernel(_scaled(part - _means(part)), self.width)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues ``(R,)``, all positive, and eigenvectors ``(N, R)`` of a kernel."""

    values: Floats
    vectors: Floats

    @classmethod
    def of(cls, kernel: FeatureKernel) -> Spectrum:
        """Return the spectrum of a kernel; what is zero up to rounding is left out."""
        values, vectors = np.linalg.eigh(kernel.products)
        kept = values > _NEGLIGIBLE * len(kernel) * values[-1]
        return cls(values[kept], vectors[:, kept])


def shrinkage(lengths: Floats, squares: float, width: int) -> float:
    """Return the intensity in [0, 1] at which a covariance is shrunk to a multiple of the identity.

    Ledoit and Wolf, 2004, doi:10.1016/S0047-259X(03)00096-4, from inner products alone.

    Args:
        lengths: squared length of each of the centered cases, ``(N,)``.
        squares: sum of the squared inner products of all pairs of cases, which is that of all
            pairs of features.
        width: number of features.
    """
    count = len(lengths)
    squares /= count**2
    mean = float(lengths.sum()) / count / width
    spread = (float((lengths**2).sum()) / count - squares) / count
    distance = squares - width * mean**2
    return min(1.0, max(0.0, spread) / distance) if distance > 0 else 1.0


def _means(part: Floats) -> Floats:
    rows = part.mean(axis=1)
    means: Floats = rows[:, None] + rows[None, :] - rows.mean()
    return means


def _scaled(products: Floats) -> Floats:
    mean = float(np.trace(products)) / len(products)
    return products / mean if mean > 0 else products
