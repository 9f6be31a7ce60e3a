"""Ask a family of backbones for one of its members, only when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from medfuse.contract import BackboneFamilySpec, BackboneSpec
from medfuse.errors import MedfuseError, PluginError, SourceError
from medfuse.registry.factories import load_factory
from medfuse.suggest import did_you_mean

# What was said of which architecture, by the family's function.
_said: WeakKeyDictionary[FunctionType, dict[str, BackboneSpec]] = WeakKeyDictionary()


def describe_backbone(family: BackboneFamilySpec, name: str) -> BackboneSpec:
    """Return what a family says of one architecture; imports the family's library.

    Each is asked for once in a process, since a family may build a network to tell of it.

    Raises:
        SourceError: the family has no such architecture, or it cannot be a source.
        PluginError: the family's library is missing, or it answers with something else.
    """
    describe = load_factory(family.describe, family.requires)
    said = _said.setdefault(describe, {}) if isinstance(describe, FunctionType) else {}
    if name not in said:
        said[name] = _asked(describe, family, name)
    return said[name]


def _asked(describe: Callable[[str], Any], family: BackboneFamilySpec, name: str) -> BackboneSpec:
    try:
        spec = describe(name)
    except KeyError as error:
        hint = did_you_mean(name, family_names(family))
        raise SourceError(
            f"source {family.name}:{name}: {family.name} has no backbone {name!r}."
            f"{hint} All names: medfuse sources list --family {family.name}"
        ) from error
    except MedfuseError:
        raise
    except ValueError as error:
        raise SourceError(
            f"source {family.name}:{name}: {name} cannot be a source: "
            f"{' '.join(str(error).split())}."
        ) from error
    except Exception as error:
        raise PluginError(
            f"source {family.name}:{name}: family {family.name} raised "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(spec, BackboneSpec):
        raise PluginError(f"family {family.name} gave a {type(spec).__name__}, not a BackboneSpec.")
    return spec


def family_names(family: BackboneFamilySpec) -> tuple[str, ...]:
    """Return all architecture names of a family, sorted; imports the family's library."""
    return tuple(sorted(load_factory(family.names, family.requires)()))
