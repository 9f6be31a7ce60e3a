"""The parser of MONAI's configurations, without its look at all of MONAI each time."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai.bundle.config_item import ComponentLocator
    from monai.bundle.config_parser import ConfigParser


def config_parser(config: dict[str, Any] | None = None) -> ConfigParser:
    """Return a `monai.bundle.ConfigParser`; all of a process share the table of MONAI's names.

    A parser alone goes through every module of MONAI at its first node, a fifth of a second.
    """
    from monai.bundle.config_parser import ConfigParser  # takes seconds

    parser = ConfigParser(config)
    parser.locator = _locator(sum(name.startswith("monai") for name in tuple(sys.modules)))
    return parser


@lru_cache(maxsize=1)
def _locator(modules: int) -> ComponentLocator:
    """Return what finds MONAI's names, the same while it has as many modules."""
    from monai.bundle.config_item import ComponentLocator

    del modules  # only tells whether the table still holds
    return ComponentLocator()
