"""Plain names: ``vgg16`` -> the member of a family that it stands for, with its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from medfuse.contract import BackboneFamilySpec, BackboneSpec
from medfuse.errors import SourceError
from medfuse.registry.families import describe_backbone
from medfuse.suggest import did_you_mean


@dataclass(frozen=True)
class PlainName:
    """A name that a source may be written with alone.

    Attributes:
        name: as in ``use: vgg16``.
        plugin: name of the plugin that declares it.
        family: the family that is asked.
        architecture: what the family calls it.
        weights: the weights that it stands for; ``None`` for the architecture's first, if any.
    """

    name: str
    plugin: str
    family: BackboneFamilySpec
    architecture: str
    weights: str | None

    @property
    def member(self) -> str:
        """The same source, qualified: ``timm:vgg16.tv_in1k``."""
        return f"{self.family.name}:{self.family.plain_names[self.name]}"


def plain_names(plugin: str, family: BackboneFamilySpec) -> Iterator[PlainName]:
    """Yield the plain names of a family, in the order declared."""
    for name, member in family.plain_names.items():
        architecture, _, weights = member.partition(".")
        yield PlainName(name, plugin, family, architecture, weights or None)


def describe_plain(plain: PlainName) -> BackboneSpec:
    """Return the backbone that a plain name stands for, its weights first; asks the family.

    Raises:
        SourceError: the family has no such architecture or weights.
        PluginError: the family's library is missing, or it answers with something else.
    """
    return weights_first(describe_backbone(plain.family, plain.architecture), plain.weights)


def weights_first(spec: BackboneSpec, name: str | None) -> BackboneSpec:
    """Return a backbone whose first weights, its default, are those of that name.

    Raises:
        SourceError: it has none of that name, as another version of its library might.
    """
    if name is None:
        return spec
    if name not in {weights.name for weights in spec.weights}:
        names = [weights.name for weights in spec.weights]
        raise SourceError(
            f"{spec.name} has no weights {name!r} in the installed version of its library, found "
            f"{', '.join(names) or 'none'}.{did_you_mean(name, names)}"
        )
    ordered = sorted(spec.weights, key=lambda weights: weights.name != name)
    return replace(spec, weights=tuple(ordered))
