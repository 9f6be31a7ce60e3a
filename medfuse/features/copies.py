"""Copies of a network for threads that compute side by side."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from types import FunctionType
from typing import Any

from torch import nn

_log = logging.getLogger(__name__)


class Copies:
    """Copies of a module, one for each lane: a module may hold a state while it computes.

    They share their parameters, and have buffers of their own. The first is the module itself,
    and the only one where it refuses to be copied: batches then wait for each other.
    """

    def __init__(self, module: nn.Module, count: int) -> None:
        self._idle: SimpleQueue[nn.Module] = SimpleQueue()
        self._idle.put(module)
        try:
            for _ in range(count - 1):
                self._idle.put(_copied(module))
        except Exception as error:  # noqa: BLE001 - a plugin's module may refuse with any error
            _log.debug("%s is not copied: %s", type(module).__name__, error)

    def __len__(self) -> int:
        return self._idle.qsize()

    @contextmanager
    def one(self) -> Iterator[nn.Module]:
        """Give a copy that nobody else uses meanwhile."""
        module = self._idle.get()
        try:
            yield module
        finally:
            self._idle.put(module)


def can_be_copied(module: nn.Module, own_hook: Callable[..., Any] | None = None) -> bool:
    """Return whether a module can be copied, and nothing in a copy points at the original.

    `copy.deepcopy` leaves functions as they are. A hook, or a function in an attribute, may hold
    on to the module that it was made for.

    Args:
        module: with all its parts.
        own_hook: a hook that holds on to nothing.
    """
    for part in module.modules():
        hooks = (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
        if any(hook is not own_hook for hook in hooks):
            return False
        if any(_holds_on(value) for value in vars(part).values()):
            return False
    return len(Copies(module, 2)) > 1


def _holds_on(value: object) -> bool:
    if isinstance(value, partial):
        return _holds_on(value.func) or any(map(_holds_on, (*value.args, *value.keywords.values())))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_on, value))
    if isinstance(value, dict):
        return any(map(_holds_on, value.values()))
    return isinstance(value, FunctionType) and bool(value.__closure__)


def _copied(module: nn.Module) -> nn.Module:
    shared: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()}
    copied = copy.deepcopy(module, shared)
    if type(copied) is not type(module):  # one that hands everything on to a part of it
        raise TypeError(f"its copy is a {type(copied).__name__}")
    return copied
