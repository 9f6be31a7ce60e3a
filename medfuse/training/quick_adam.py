"""Adam for many small steps on a processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class QuickAdam:
    """What torch's fused `Adam` and `AdamW` do, to the last bit, by the operation inside them.

    `torch.optim.Optimizer` spends half a millisecond of each step on its hooks, marks, checks and
    lists. There is no state to save here, so that it is for trainings that are not resumed.

    Args:
        groups: with ``params``, ``lr`` and ``weight_decay``; as `torch.optim.Optimizer` takes them.
        decoupled: weight decay off the weights, as in AdamW, in place of added to the gradient.

    Attributes:
        param_groups: the groups, whose ``lr`` may be changed between steps.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, decoupled: bool) -> None:
        self.param_groups = list(groups)
        self._update: Any = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self._states = [_State(group["params"]) for group in self.param_groups]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for state in self._states:
            for parameter in state.parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move all parameters that have a gradient."""
        for group, state in zip(self.param_groups, self._states, strict=True):
            moved = state.count_step()
            if moved:
                self._update(
                    state.of(state.parameters, moved),
                    [p.grad for p in state.of(state.parameters, moved)],
                    state.of(state.means, moved),
                    state.of(state.squares, moved),
                    [],
                    state.of(state.steps, moved),
                    lr=group["lr"],
                    beta1=0.9,
                    beta2=0.999,
                    weight_decay=group["weight_decay"],
                    eps=1e-8,
                    amsgrad=False,
                    maximize=False,
                )


class _State:
    """The parameters of a group, the means of their gradients and squares, and their steps."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self._counts = torch.zeros(len(self.parameters))
        self.steps = list(self._counts)  # views of it

    def count_step(self) -> list[int]:
        """Count a step of each parameter with a gradient, and return their positions."""
        moved = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        self._counts[moved if len(moved) < len(self.parameters) else slice(None)] += 1
        return moved

    def of(self, values: list[Tensor], moved: list[int]) -> list[Tensor]:
        """Return those of one value for each parameter that belong to the moved ones."""
        return values if len(moved) == len(self.parameters) else [values[i] for i in moved]
