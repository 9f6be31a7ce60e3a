"""Find installed plugins through entry points, one at a time, so that a broken one stays alone.

pluggy's own loader calls ``entry_point.load()`` unguarded: one bad plugin would end the program.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Literal

from medfuse.contract import ENTRY_POINT_GROUP, BackboneFamilySpec
from medfuse.errors import PluginError
from medfuse.registry.contribution import Contribution, contribution_of
from medfuse.suggest import did_you_mean

STRICT = "MEDFUSE_STRICT_PLUGINS"
BLOCK = "MEDFUSE_BLOCK_PLUGINS"
_OWN = "medfuse"
_log = logging.getLogger("medfuse")


@dataclass(frozen=True)
class PluginStatus:
    """What became of one installed plugin.

    Attributes:
        name: of the entry point.
        module: what the entry point names.
        distribution: the installed package that brings it, and its version.
        status: ``ok``; ``broken``, with a reason; or ``blocked`` by ``MEDFUSE_BLOCK_PLUGINS``.
        reason: why it is broken, in one line.
        counts: kind of component, ``family`` or ``handlers``, to how many the plugin brings.
    """

    name: str
    module: str
    distribution: str = ""
    version: str = ""
    status: Literal["ok", "broken", "blocked"] = "ok"
    reason: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


def find_plugins() -> list[tuple[PluginStatus, Contribution | None]]:
    """Return every installed plugin, in order of name, with what it contributes if it is sound.

    Raises:
        PluginError: a plugin is broken, and ``MEDFUSE_STRICT_PLUGINS`` is set.
    """
    found = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: (e.name, e.value))
    claims = Counter(entry.name for entry in found)
    blocked = _blocked(claims)
    return [_open(entry, claims[entry.name], blocked) for entry in found]


def import_plugin(module: str) -> ModuleType:
    """Return a plugin's module, imported with its own printing sent to stderr.

    Raises:
        PluginError: the import fails in any way.
    """
    try:
        with redirect_stdout(sys.stderr):
            return import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a plugin raises, it alone is broken
        raise PluginError(_import_failure(module, error)) from error


def _open(
    entry: EntryPoint, claims: int, blocked: frozenset[str]
) -> tuple[PluginStatus, Contribution | None]:
    owner = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
    if entry.name in blocked:
        return PluginStatus(entry.name, entry.value, *owner, status="blocked"), None
    try:
        contribution = _contribution(entry, claims)
    except PluginError as error:
        if os.environ.get(STRICT, "") not in ("", "0"):
            raise PluginError(f"plugin {entry.name} ({owner[0]}): {error}") from error
        reason = " ".join(str(error).split())
        return PluginStatus(entry.name, entry.value, *owner, status="broken", reason=reason), None
    return PluginStatus(entry.name, entry.value, *owner, counts=_counts(contribution)), contribution


def _counts(contribution: Contribution) -> dict[str, int]:
    specs = [(kind, spec) for kind, found in contribution.specs.items() for spec in found]
    counts = Counter("family" if isinstance(s, BackboneFamilySpec) else k for k, s in specs)
    return dict(counts) | ({"handlers": 1} if contribution.attaches_handlers else {})


def _contribution(entry: EntryPoint, claims: int) -> Contribution:
    if claims > 1 and not _is_own(entry):
        raise PluginError(
            f"{claims} installed packages have a plugin named {entry.name!r}. "
            "Uninstall all but one."
        )
    if entry.attr:
        raise PluginError(
            f"the entry point is {entry.value!r}, expected a module, without a colon."
        )
    return contribution_of(import_plugin(entry.module), entry.name)


def _is_own(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == _OWN


def _blocked(installed: Mapping[str, int]) -> frozenset[str]:
    names = [name.strip() for name in os.environ.get(BLOCK, "").split(",") if name.strip()]
    for name in names:
        if name not in installed:
            hint = did_you_mean(name, installed)
            _log.warning("%s names %r, which is not installed.%s", BLOCK, name, hint)
    return frozenset(names)


def _import_failure(module: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}."
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return f"there is no module {module!r}. Is the plugin installed completely?"
    shown = " ".join(str(error).split())
    return f"importing {module} raised {type(error).__name__}: {shown}"
