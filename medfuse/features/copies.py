"""Copies of a network for threads that compute side by side."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue

from torch import nn


class Copies:
    """Copies of a module, one for each lane: a module may hold a state while it computes.

    They share their tensors. The first is the module itself, and the only one where it holds
    what cannot be copied: batches then wait for each other.
    """

    def __init__(self, module: nn.Module, count: int) -> None:
        self._idle: SimpleQueue[nn.Module] = SimpleQueue()
        self._idle.put(module)
        tensors = (*module.parameters(), *module.buffers())
        with suppress(TypeError, RuntimeError, copy.Error):  # a lock, a session of another library
            for _ in range(count - 1):
                self._idle.put(copy.deepcopy(module, {id(tensor): tensor for tensor in tensors}))

    @contextmanager
    def one(self) -> Iterator[nn.Module]:
        """Give a copy that nobody else uses meanwhile."""
        module = self._idle.get()
        try:
            yield module
        finally:
            self._idle.put(module)
