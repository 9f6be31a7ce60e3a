"""Take what one plugin module yields, or say why it cannot be taken."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields, is_dataclass
from types import ModuleType
from typing import Any

import pluggy

from medfuse import contract
from medfuse.contract import API_VERSION, BackboneFamilySpec, ComponentSpec, hookspecs
from medfuse.errors import PluginError
from medfuse.registry.factories import FACTORY_PATTERN
from medfuse.registry.kinds import ATTACH_HANDLERS, KINDS, Kind, Spec
from medfuse.suggest import did_you_mean

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]*")
MEMBER_PATTERN = re.compile(r"[^\s.:@]+(\.[^\s:@]+)?")
_UNKNOWN_ARGUMENT = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
_PROJECT = "medfuse"


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(_PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


@dataclass(frozen=True)
class Contribution:
    """What one sound plugin brings.

    Attributes:
        plugin: name of the plugin.
        specs: kind of component to its specs, in the order yielded.
        manager: pluggy's manager with this plugin alone.
        attaches_handlers: the plugin implements `medfuse_attach_handlers`.
    """

    plugin: str
    specs: Mapping[str, tuple[Spec, ...]] = field(default_factory=dict)
    manager: pluggy.PluginManager = field(default_factory=_manager, repr=False)
    attaches_handlers: bool = False

    def attach_handlers(self, trainer: Any, run: Any) -> None:
        """Call the plugin's `medfuse_attach_handlers`."""
        self.manager.hook.medfuse_attach_handlers(trainer=trainer, run=run)


def contribution_of(module: ModuleType, plugin: str) -> Contribution:
    """Return everything that a plugin module contributes, checked.

    A manager of its own for each plugin keeps a faulty one from touching the others.

    Raises:
        PluginError: wrong API number, a faulty hook, or a spec that cannot be used.
    """
    _check_api(module)
    manager = _manager()
    _register(manager, module, plugin)
    _check_hook_names(manager, module)
    specs = {name: _specs(manager, kind) for name, kind in KINDS.items()}
    attaches = bool(getattr(manager.hook, ATTACH_HANDLERS).get_hookimpls())
    return Contribution(plugin, specs, manager, attaches)


def _check_api(module: ModuleType) -> None:
    found = getattr(module, "MEDFUSE_API", 1)
    if found != API_VERSION:
        raise PluginError(
            f"MEDFUSE_API is {found!r}, this medfuse has {API_VERSION}. "
            "Install matching versions of medfuse and the plugin."
        )


def _register(manager: pluggy.PluginManager, module: ModuleType, plugin: str) -> None:
    try:
        manager.register(module, plugin)
    except pluggy.PluginValidationError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PluginError(f"hook with the wrong arguments: {reason}.") from error


def _check_hook_names(manager: pluggy.PluginManager, module: ModuleType) -> None:
    known = [name for name in vars(hookspecs) if name.startswith("medfuse_")]
    for caller in manager.get_hookcallers(module) or ():
        optional = all(impl.optionalhook for impl in caller.get_hookimpls())
        if not caller.has_spec() and not optional:
            raise PluginError(
                f"{caller.name} is no hook of medfuse, expected one of {', '.join(known)}."
                f"{did_you_mean(caller.name, known)}"
            )
    for name in known:
        function = getattr(module, name, None)
        if inspect.isroutine(function) and not hasattr(function, f"{_PROJECT}_impl"):
            raise PluginError(f"{name} is not marked. Put @hookimpl above it.")


def _specs(manager: pluggy.PluginManager, kind: Kind) -> tuple[Spec, ...]:
    caller = getattr(manager.hook, kind.hook)
    with redirect_stdout(sys.stderr):
        try:
            results = caller()
            found = [spec for result in results for spec in _iterated(result, kind)]
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            shown = " ".join(str(error).split())
            raise PluginError(
                f"{kind.hook} raised {type(error).__name__}: {shown}{_nearest_argument(shown)}"
            ) from error
    if len(results) < len(caller.get_hookimpls()):
        raise PluginError(f"{kind.hook} returned None, expected {_expected(kind)}s to be yielded.")
    _check_specs(found, kind)
    return tuple(found)


def _nearest_argument(text: str) -> str:
    """Return ``'. Did you mean "x"?'`` for a misspelt argument of a spec, or an empty string."""
    found = _UNKNOWN_ARGUMENT.search(text)
    spec = getattr(contract, found[1], None) if found else None
    if found is None or spec is None or not is_dataclass(spec) or "Did you mean" in text:
        return ""
    hint = did_you_mean(found[2], [argument.name for argument in fields(spec)])
    return f".{hint}" if hint else ""


def _iterated(result: Any, kind: Kind) -> Iterable[Any]:
    if isinstance(result, Iterable):
        return result
    raise PluginError(
        f"{kind.hook} returned a {type(result).__name__}, "
        f"expected {_expected(kind)}s to be yielded."
    )


def _check_specs(specs: list[Any], kind: Kind) -> None:
    seen: set[tuple[bool, str]] = set()
    for spec in specs:
        if not isinstance(spec, kind.types):
            raise PluginError(f"{kind.hook} yielded {spec!r:.80}, expected {_expected(kind)}.")
        _check_spec(spec, kind)
        key = (isinstance(spec, BackboneFamilySpec), spec.name)
        if key in seen:
            raise PluginError(f"{kind.hook} yielded two specs named {spec.name!r}. Rename one.")
        seen.add(key)


def _check_spec(spec: Spec, kind: Kind) -> None:
    if not isinstance(spec.name, str) or not NAME_PATTERN.fullmatch(spec.name):
        raise PluginError(
            f"{kind.hook}: name {spec.name!r}, expected lower-case letters, digits, '_' and '-'."
        )
    texts = [spec.factory] if isinstance(spec, ComponentSpec) else [spec.describe, spec.names]
    for text in texts:
        if not isinstance(text, str) or not FACTORY_PATTERN.fullmatch(text):
            raise PluginError(
                f"{kind.hook}: {spec.name} names {text!r}, expected a text of the form "
                "'package.module:callable'."
            )
    if isinstance(spec, BackboneFamilySpec):
        _check_plain_names(spec, kind)


def _check_plain_names(spec: BackboneFamilySpec, kind: Kind) -> None:
    for name, member in spec.plain_names.items():
        if not NAME_PATTERN.fullmatch(name) or not MEMBER_PATTERN.fullmatch(member):
            raise PluginError(
                f"{kind.hook}: {spec.name} has the plain name {name!r} for {member!r}, expected "
                "lower-case letters, digits, '_' and '-' for 'architecture' or "
                "'architecture.weights'."
            )


def _expected(kind: Kind) -> str:
    return " or ".join(spec_type.__name__ for spec_type in kind.types)
