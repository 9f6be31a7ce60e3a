"""Find the parameters of a model of few parameters that minimize a smooth loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from medfuse.threads import one_thread

_STEPS = 200


def to_minimum(parameters: Sequence[Tensor], loss: Callable[[], Tensor]) -> float:
    """Move parameters in place to a minimum of a loss, by L-BFGS, and return the loss there.

    SciPy's, which begins at once: the first optimizer of torch in a process imports its compiler,
    which takes longer than the fit.

    Args:
        parameters: what is moved; they require a gradient.
        loss: returns a scalar; a parameter that it does not depend on stays. Where it is not
            finite, so is what is returned.
    """

    @torch.enable_grad()
    def at(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        _move(parameters, values)
        value = loss()
        slopes = torch.autograd.grad(
            value, list(parameters), allow_unused=True, materialize_grads=True
        )
        return value.item(), _vector(slopes)

    settings = {"maxiter": _STEPS, "gtol": 1e-7, "ftol": 1e-12}
    start = _vector(parameters)
    with one_thread():  # threads of torch and of SciPy would wait for each other, ten times as long
        found: Any = minimize(at, start, jac=True, method="L-BFGS-B", options=settings)
        return at(found.x)[0]  # the last place that was tried need not be the best


@torch.no_grad()
def _vector(tensors: Sequence[Tensor]) -> NDArray[np.float64]:
    return np.asarray(torch.cat([t.reshape(-1) for t in tensors]).double().cpu().numpy())


@torch.no_grad()
def _move(parameters: Sequence[Tensor], values: NDArray[np.float64]) -> None:
    parts = torch.split(torch.from_numpy(values), [p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.copy_(part.view_as(parameter))
