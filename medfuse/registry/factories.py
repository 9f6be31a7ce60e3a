"""Import what a spec names as ``package.module:attribute``, with errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType
from typing import Any

from medfuse.contract import ComponentSpec
from medfuse.errors import PluginError
from medfuse.suggest import did_you_mean

FACTORY_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def load_factory(factory: ComponentSpec | str, requires: Sequence[str] = ()) -> Callable[..., Any]:
    """Return the callable that a spec, or a text ``package.module:attribute``, names.

    Args:
        factory: the spec, or the text.
        requires: distributions it needs, where a text is given; a spec has its own.

    Raises:
        PluginError: a distribution is missing, or the import or the attribute fails.
    """
    text = factory if isinstance(factory, str) else factory.factory
    owner = f"factory {text!r}" if isinstance(factory, str) else f"{factory.name}: factory {text!r}"
    if not FACTORY_PATTERN.fullmatch(text):
        raise PluginError(f"{owner}: expected the form package.module:callable.")
    needed = requires if isinstance(factory, str) else (*factory.requires, *requires)
    missing = [name for name in needed if not _is_installed(name)]
    if missing:
        raise PluginError(
            f"{owner} needs {', '.join(missing)}, not installed here. "
            f"Run: pip install {' '.join(missing)}"
        )
    module, _, attribute = text.partition(":")
    return _attribute(_module(module, owner), attribute, owner)


def _is_installed(requirement: str) -> bool:
    name = re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _module(name: str, owner: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        shown = " ".join(str(error).split())
        raise PluginError(
            f"{owner} cannot be imported: {type(error).__name__}: {shown}. "
            "Check the spelling and the plugin's installation."
        ) from error


def _attribute(module: ModuleType, path: str, owner: str) -> Callable[..., Any]:
    value: Any = module
    for part in path.split("."):
        if not hasattr(value, part):
            hint = did_you_mean(part, [n for n in dir(value) if not n.startswith("_")])
            raise PluginError(f"{owner}: {module.__name__} has no {part!r}.{hint}")
        value = getattr(value, part)
    if not callable(value):
        raise PluginError(f"{owner} is a {type(value).__name__}, expected a callable.")
    found: Callable[..., Any] = value
    return found
