"""The nearest option to one that a library's constructor does not know."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from medfuse.suggest import did_you_mean

_BUILD_ERRORS = (TypeError, ValueError, RuntimeError, KeyError, AssertionError, AttributeError)
_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")


def nearest_option(
    factory: Callable[..., nn.Module], options: Mapping[str, Any], error: Exception
) -> str:
    """Return ``' Did you mean "x"?'`` for the option that an error names, or an empty string.

    Families such as timm pass options on to constructors that they do not list. Which ones there
    are is read off the network that is built without the unknown one.

    Args:
        factory: builds the backbone.
        options: what it was called with.
        error: what it raised.
    """
    found = _UNKNOWN.search(str(error))
    if found is None or found[1] not in options:
        return ""
    rest = {name: value for name, value in options.items() if name != found[1]}
    try:
        with torch.random.fork_rng(devices=()):
            network = factory(**rest)
    except _BUILD_ERRORS:  # something else is wrong too; the first error is told
        return ""
    known: set[str] = set()
    for module in (network, *network.children()):
        known |= set(inspect.signature(type(module)).parameters)
    return did_you_mean(found[1], known)
