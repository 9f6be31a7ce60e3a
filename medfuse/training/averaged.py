"""A network's mean over its epochs, which wavers less than the network of any one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


class AveragedWeights:
    """Exponential moving average of what a module's ``state_dict`` holds, taken once an epoch.

    After epoch n it is the mean of the n states so far, each of which counts ``decay`` times as
    much as the one after it: averaging of iterates (Polyak and Juditsky, 1992,
    doi:10.1137/0330046) as it is done for networks since Izmailov et al. (2018,
    arXiv:1803.05407). Batch norm's running mean and variance are averaged as weights are;
    numbers that are counted, not computed, are those of the last epoch.

    Args:
        module: what learns; its parameters and buffers must stay the same objects.
        decay: 0 to below 1; with 0 the mean is the module itself, and nothing is kept.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self._mean: State = {}
        self._epochs = 0

    @torch.no_grad()
    def add(self) -> None:
        """Take in the module as it is at the end of an epoch."""
        if not self._decay:
            return
        self._epochs += 1
        share = (1 - self._decay) / (1 - self._decay**self._epochs)
        for name, value in self._values().items():
            before = self._mean.get(name)
            if before is None or not (value.is_floating_point() or value.is_complex()):
                self._mean[name] = value.detach().clone()
            else:  # between two infinities there is no number
                between = torch.lerp(before, value.detach(), share)
                self._mean[name] = torch.where(before == value, before, between)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module be the mean while the block runs, and what it was after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any] | None:
        """Return what `load_state_dict` takes, copied to the CPU; ``None`` with a decay of 0."""
        if not self._decay:
            return None
        mean = {name: value.to("cpu", copy=True) for name, value in self._mean.items()}
        return {"epochs": self._epochs, "mean": mean}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on from a mean that `state_dict` returned."""
        if state is None:
            return
        self._epochs = int(state["epochs"])
        values = self._values()
        self._mean = {k: v.to(values[k].device, copy=True) for k, v in state["mean"].items()}

    def _swap(self) -> None:
        for name, value in self._values().items():
            if name in self._mean:
                value.data, self._mean[name] = self._mean[name], value.data

    def _values(self) -> State:
        """Return parameters and buffers by name; what has several names under the first."""
        found: State = {}
        known: set[int] = set()
        for name, value in self._module.state_dict(keep_vars=True).items():
            if id(value) not in known:
                known.add(id(value))
                found[name] = value
        return found
