"""Few cases of many features, told by as many features as there are cases."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.linalg.blas import dsyrk

Floats: TypeAlias = NDArray[np.floating]

# Features for each case, from where the products take less time than they save.
_WORTH = 2
# Each case's own part of its features, so that cases that depend on others can be told apart.
_OWN = 1e-9


def in_row_space(train: Floats, new: Floats) -> tuple[Floats, Floats]:
    """Return ``(N, N)`` and ``(M, N)`` with the inner products of ``(N, D)`` and ``(M, D)``.

    A linear model with an L2 penalty is a combination of its training cases, so that it needs
    their inner products alone (Hastie and Tibshirani, 2004, doi:10.1093/biostatistics/kxh010): it
    finds the same classifier in the rows of the Cholesky factor of ``train @ train.T``, and sooner
    where cases are far fewer than features. Both are returned as they are where cases are not.

    Args:
        train: features of the training cases; finite.
        new: features of other cases.
    """
    if train.shape[1] < _WORTH * len(train) or not train.any():
        return train, new
    cases = train.astype(np.float64)
    products = dsyrk(1.0, cases.T, trans=1, lower=1)
    lengths = products.diagonal()
    products[np.diag_indices_from(products)] += _OWN * np.where(lengths, lengths, lengths.max())
    factor = cholesky(products, lower=True, overwrite_a=True)
    told = solve_triangular(factor, cases @ new.T.astype(np.float64), lower=True)
    return np.ascontiguousarray(factor, train.dtype), np.ascontiguousarray(told.T, train.dtype)
