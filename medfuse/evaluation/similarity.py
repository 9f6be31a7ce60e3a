"""How alike two sources see the same cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medfuse.evaluation.feature_kernel import FeatureKernel, Floats


def linear_cka(one: FeatureKernel, other: FeatureKernel) -> float:
    """Return the linear CKA of two sources: 1 if alike up to rotation and scale, 0 if unrelated.

    Kornblith et al., 2019, arXiv:1905.00414, with the unbiased estimate of the dependence (Song
    et al., 2012, JMLR 13:1393): with more features than cases the plain one is near 1 for any two
    sources. It may lie a little below 0. Needs at least 4 cases.
    """
    return float(similarities([one, other])[0, 1])


def similarities(kernels: Sequence[FeatureKernel]) -> Floats:
    """Return the linear CKA of every two sources, ``(S, S)``; see `linear_cka`."""
    hollow = [_without_diagonal(kernel.products) for kernel in kernels]
    size = len(hollow)
    table = np.ones((size, size))
    norms = [_dependence(matrix, matrix) for matrix in hollow]
    for i in range(size):
        for j in range(i):
            scale = np.sqrt(max(norms[i] * norms[j], np.finfo(float).tiny))
            table[i, j] = table[j, i] = _dependence(hollow[i], hollow[j]) / scale
    return table


def _without_diagonal(products: Floats) -> Floats:
    hollow = products.copy()
    np.fill_diagonal(hollow, 0.0)
    return hollow


def _dependence(one: Floats, other: Floats) -> float:
    """Return the unbiased Hilbert-Schmidt independence criterion of kernels without diagonals."""
    n = len(one)
    rows, columns = one.sum(axis=1), other.sum(axis=1)
    product = float((one * other).sum())
    product += float(rows.sum() * columns.sum()) / ((n - 1) * (n - 2))
    product -= 2 * float(rows @ columns) / (n - 2)
    return product / (n * (n - 3))
