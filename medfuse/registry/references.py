"""Read the text of ``use:``: which plugin or family, which backbone, which weights, which file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from medfuse.contract import BackboneSpec, WeightsSpec
from medfuse.errors import SourceError
from medfuse.registry.bundled import described_bundle, is_bundled
from medfuse.registry.described import (
    DESCRIPTION,
    Described,
    described_beside,
    described_in,
    is_source_folder,
)
from medfuse.suggest import did_you_mean

RANDOM_WEIGHTS = "random"


@dataclass(frozen=True)
class SourceReference:
    """A source as a configuration names it.

    Attributes:
        plugin: name of a plugin or family in front of ``:``, or ``None``.
        name: the backbone.
        weights: name behind the first dot, or ``None`` for the backbone's first weights.
        file: weights file behind the first ``@``, or ``None``.
        described: what the file says of itself, read once.
    """

    plugin: str | None
    name: str
    weights: str | None = None
    file: str | None = None
    described: Described | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """Return the text that `parse_source` reads."""
        if self.described is not None and self.described.use:
            return self.described.use
        plugin = f"{self.plugin}:" if self.plugin else ""
        weights = f".{self.weights}" if self.weights else ""
        file = f"@{self.file}" if self.file else ""
        return f"{plugin}{self.name}{weights}{file}"


def parse_source(use: str) -> SourceReference:
    """Return the parts of a source's text.

    >>> parse_source("timm:resnet18.a1_in1k")
    SourceReference(plugin='timm', name='resnet18', weights='a1_in1k', file=None)

    A folder that `medfuse pretrain` wrote stands for the backbone and the weights in it, and
    ``bundle:PATH`` for those in a bundle (`medfuse.registry.bundled`).

    Raises:
        SourceError: a part is empty, a folder holds no source, or a description cannot be used.
        BundleError: a bundle is damaged.
    """
    if is_bundled(use):
        return _of(described_bundle(use))
    if is_source_folder(use) or ("@" not in use and _looks_like_a_path(use)):
        return _in_folder(use)
    source, at, file = use.strip().partition("@")
    plugin, colon, rest = source.rpartition(":")
    name, dot, weights = rest.partition(".")
    described = None if weights else described_beside(file or None)
    reference = SourceReference(plugin or None, name, weights or None, file or None, described)
    given = [(colon, plugin), (dot, weights), (at, file), ("name", name)]
    if any(mark and not part for mark, part in given) or ":" in plugin or use.split() != [use]:
        raise SourceError(
            f"source {use!r}: expected plugin:name.weights, as in timm:resnet18.a1_in1k, or "
            "plugin:name@FILE. The plugin may be left out where one plugin alone has the name."
        )
    return reference


def select_weights(spec: BackboneSpec, reference: SourceReference) -> WeightsSpec | None:
    """Return the weights that a reference names, by default the first; ``None`` for ``random``.

    A file with a description beside it (`medfuse.registry.described`) is what that says. A
    backbone without any weights gives ``None`` too, if a file or no weights are named.

    Raises:
        SourceError: the backbone has no weights of that name, or the file is described as weights
            of another backbone.
    """
    if reference.weights == RANDOM_WEIGHTS:
        return None
    if reference.weights is None:
        if reference.described is not None:
            _require_backbone(reference.described.backbone, spec, reference)
            return reference.described.weights
        return spec.weights[0] if spec.weights else None
    known = {weights.name: weights for weights in spec.weights}
    if reference.weights in known:
        return known[reference.weights]
    names = [*known, RANDOM_WEIGHTS]
    raise SourceError(
        f"source {reference}: {spec.name} has no weights {reference.weights!r}, "
        f"expected one of {', '.join(names)}.{did_you_mean(reference.weights, names)}"
    )


def _looks_like_a_path(use: str) -> bool:
    return ":" not in use and any(mark in use for mark in {"/", os.sep})


def _in_folder(use: str) -> SourceReference:
    folder = Path(use).expanduser()
    if not is_source_folder(use):
        raise SourceError(
            f"source {use}: no folder with a {DESCRIPTION}, which 'medfuse pretrain' writes. Check "
            "the path, or give plugin:name.weights or plugin:name@FILE."
        )
    return _of(described_in(folder))


def _of(described: Described) -> SourceReference:
    plugin, _, name = described.backbone.rpartition(":")
    return SourceReference(plugin or None, name, None, described.weights.path, described)


def _require_backbone(described: str, spec: BackboneSpec, reference: SourceReference) -> None:
    plugin, _, name = described.rpartition(":")
    if name != spec.name or (plugin and reference.plugin and plugin != reference.plugin):
        raise SourceError(
            f"source {reference}: its {DESCRIPTION} says that these are weights of {described}. "
            f"Name that, or the folder alone."
        )
