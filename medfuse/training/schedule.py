"""Learning rates by epoch; every parameter group keeps its own scale."""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

import torch

from medfuse.config import TrainingConfig

_STEP_FACTOR = 0.1
_STEPS = 3
_PLATEAU_FACTOR = 0.3
_PLATEAU_PATIENCE = 4
_PLATEAU_DELTA = 1e-4


class Optimizer(Protocol):
    """The part of `torch.optim.Optimizer` that a schedule sets the rates of."""

    param_groups: list[dict[str, Any]]


class Schedule:
    """Sets ``lr = base_lr * factor`` in every parameter group at the start of an epoch.

    torch's own schedulers cannot follow a group that is added when a source is unfrozen.

    ``constant`` keeps the rate. ``cosine`` falls to zero over all epochs (Loshchilov and Hutter,
    2017, arXiv:1608.03983, without restarts). ``step`` divides by 10 after each third of them.
    ``plateau`` multiplies by 0.3 when the loss has not fallen for 4 epochs.

    Args:
        kind: one of the four.
        epochs: number of epochs planned.
    """

    def __init__(self, kind: Literal["constant", "cosine", "step", "plateau"], epochs: int) -> None:
        self.kind = kind
        self.epochs = epochs
        self._factor = 1.0
        self._best = math.inf
        self._waited = 0

    def factor(self, epoch: int) -> float:
        """Return the factor of an epoch, counted from 1."""
        if self.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (epoch - 1) / self.epochs))
        if self.kind == "step":
            done = (epoch - 1) * _STEPS // self.epochs
            return float(_STEP_FACTOR**done)
        return self._factor

    def apply(self, optimizer: Optimizer, epoch: int) -> None:
        """Set the rate of every group for an epoch."""
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * self.factor(epoch)

    def observe(self, loss: float) -> None:
        """Tell the loss of the epoch that ended; only ``plateau`` listens."""
        if self.kind != "plateau":
            return
        if loss < self._best - _PLATEAU_DELTA:
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited >= _PLATEAU_PATIENCE:
            self._factor, self._waited = self._factor * _PLATEAU_FACTOR, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on."""
        return {"factor": self._factor, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._factor, self._best = float(state["factor"]), float(state["best"])
        self._waited = int(state["waited"])


def build_optimizer(
    config: TrainingConfig, parameters: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the optimizer of a configuration with these parameters at the full rate.

    ``adam`` adds the weight decay to the gradient, ``adamw`` takes it off the weights
    (Loshchilov and Hutter, 2019, arXiv:1711.05101).
    """
    first = parameter_groups(parameters, config.lr, config.weight_decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            first, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0
        )
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(first, lr=config.lr, fused=_can_fuse(parameters))


def parameter_groups(
    parameters: list[torch.nn.Parameter], rate: float, decay: float
) -> list[dict[str, Any]]:
    """Return the groups of some parameters: matrices with weight decay, vectors without.

    Args:
        parameters: biases, norms and learned scores are vectors.
        rate: learning rate.
        decay: weight decay of the matrices.
    """
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": matrices, "lr": rate, "base_lr": rate, "weight_decay": decay},
        {"params": vectors, "lr": rate, "base_lr": rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _can_fuse(parameters: list[torch.nn.Parameter]) -> bool:
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
