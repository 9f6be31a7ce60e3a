"""Ask a family of backbones for one of its members, only when it is needed."""

from __future__ import annotations

from medfuse.contract import BackboneFamilySpec, BackboneSpec
from medfuse.errors import MedfuseError, PluginError, SourceError
from medfuse.registry.factories import load_factory
from medfuse.suggest import did_you_mean


def describe_backbone(family: BackboneFamilySpec, name: str) -> BackboneSpec:
    """Return what a family says of one architecture; imports the family's library.

    Raises:
        SourceError: the family has no such architecture, or it cannot be a source.
        PluginError: the family's library is missing, or it answers with something else.
    """
    describe = load_factory(family.describe, family.requires)
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
