"""Resolve the names of components among everything that sound plugins contribute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from medfuse.contract import (
    BackboneFamilySpec,
    BackboneSpec,
    ComponentSpec,
    DecisionFusionSpec,
    ExplainerSpec,
    ExporterSpec,
    FeatureFusionSpec,
    HeadSpec,
    MetricSpec,
    ReaderSpec,
)
from medfuse.errors import MedfuseError, PluginError, SourceError
from medfuse.registry.contribution import Contribution
from medfuse.registry.discovery import BLOCK, PluginStatus, find_plugins
from medfuse.registry.families import describe_backbone
from medfuse.registry.plain_names import PlainName, plain_names, weights_first
from medfuse.registry.references import SourceReference, select_weights
from medfuse.suggest import did_you_mean

_SpecT = TypeVar("_SpecT", bound=ComponentSpec)
_FIRST_PARTY = ("mini", "monai", "timm", "torchvision", "xrv")


class Registry:
    """Components by name.

    Args:
        plugins: what became of each installed plugin.
        contributions: what the sound ones bring.
    """

    def __init__(
        self, plugins: Iterable[PluginStatus], contributions: Iterable[Contribution]
    ) -> None:
        self.plugins: tuple[PluginStatus, ...] = tuple(plugins)
        self._contributions = tuple(contributions)

    def components(self, kind: str) -> Iterator[tuple[str, ComponentSpec]]:
        """Yield ``(plugin name, spec)`` of all components of a kind, families left out."""
        for contribution in self._contributions:
            for spec in contribution.specs.get(kind, ()):
                if isinstance(spec, ComponentSpec):
                    yield contribution.plugin, spec

    def families(self) -> Iterator[tuple[str, BackboneFamilySpec]]:
        """Yield ``(plugin name, spec)`` of all backbone families."""
        for contribution in self._contributions:
            for spec in contribution.specs.get("backbone", ()):
                if isinstance(spec, BackboneFamilySpec):
                    yield contribution.plugin, spec

    def backbone(self, reference: SourceReference) -> tuple[str, BackboneSpec]:
        """Return the plugin's name and the backbone that a source names.

        A family is asked only if its name stands in front, ``timm:resnet18``, or if it has
        declared the plain name. The first weights are those that a plain name stands for, or that
        describe themselves (`medfuse.registry.described`).

        Raises:
            SourceError: the plugin, the backbone or its weights are unknown or ambiguous.
            PluginError: the plugin is broken.
        """
        qualified = self.qualified(reference)
        plugin, spec = self._backbone(qualified)
        if qualified != reference:
            spec = weights_first(spec, self._plain_name(reference).weights)
        weights = select_weights(spec, reference)
        if weights is not None and weights not in spec.weights:
            spec = replace(spec, weights=(weights, *spec.weights))
        return plugin, spec

    def plain_names(self) -> Iterator[PlainName]:
        """Yield every plain name that a family of backbones declares."""
        for plugin, family in self.families():
            yield from plain_names(plugin, family)

    def qualified(self, reference: SourceReference) -> SourceReference:
        """Return a source with its family in front and its weights, where it has a plain name.

        Any other is returned as it is. ``vgg16`` becomes ``timm:vgg16.tv_in1k``; weights that are
        named stay, and a file gets no name of weights: nobody knows that it holds them.

        Raises:
            SourceError: several plugins offer the name.
        """
        if reference.plugin is not None or not self._offers(reference):
            return reference
        plain = self._plain_name(reference)
        weights = reference.weights or (None if reference.file else plain.weights)
        return replace(
            reference, plugin=plain.family.name, name=plain.architecture, weights=weights
        )

    def fusion(self, name: str) -> FeatureFusionSpec | DecisionFusionSpec:
        """Return a fusion's spec; raises `PluginError` for an unknown or ambiguous name."""
        return cast("FeatureFusionSpec | DecisionFusionSpec", self._component("fusion", name))

    def head(self, name: str) -> HeadSpec:
        """Return a head's spec; raises `PluginError` for an unknown or ambiguous name."""
        return cast("HeadSpec", self._component("head", name))

    def reader(self, name: str) -> ReaderSpec:
        """Return a reader's spec; raises `PluginError` for an unknown or ambiguous name."""
        return cast("ReaderSpec", self._component("reader", name))

    def metric(self, name: str) -> MetricSpec:
        """Return a metric's spec; raises `PluginError` for an unknown or ambiguous name."""
        return cast("MetricSpec", self._component("metric", name))

    def explainer(self, name: str) -> ExplainerSpec:
        """Return an explainer's spec; raises `PluginError` for an unknown or ambiguous name."""
        return cast("ExplainerSpec", self._component("explainer", name))

    def exporter(self, name: str) -> ExporterSpec:
        """Return an exporter's spec; raises `PluginError` for an unknown or ambiguous name."""
        return cast("ExporterSpec", self._component("exporter", name))

    def attach_handlers(self, trainer: Any, run: Any) -> None:
        """Let every plugin attach its Ignite handlers to a trainer.

        Raises:
            PluginError: naming the plugin whose hook raised.
        """
        for contribution in self._contributions:
            _attach(contribution, trainer, run)

    def _component(self, kind: str, text: str) -> ComponentSpec:
        plugin, _, name = text.rpartition(":")
        if plugin:
            self._check_plugin(plugin, f"{kind} {text!r}", PluginError)
        known = [(p, s) for p, s in self.components(kind) if not plugin or p == plugin]
        return _only(known, name, f"{kind} {text!r}", PluginError)[1]

    def _offers(self, reference: SourceReference) -> list[str]:
        """Return what a family offers under a plain name, and what else has this name."""
        plain = [one.member for one in self.plain_names() if one.name == reference.name]
        own = [f"{p}:{s.name}" for p, s in self.components("backbone") if s.name == reference.name]
        return [*own, *plain] if plain else []

    def _plain_name(self, reference: SourceReference) -> PlainName:
        offers = self._offers(reference)
        if len(offers) > 1:
            raise SourceError(
                f"source {reference}: several plugins offer {reference.name!r}. "
                f"Write {' or '.join(offers)}."
            )
        return next(one for one in self.plain_names() if one.name == reference.name)

    def _backbone(self, reference: SourceReference) -> tuple[str, BackboneSpec]:
        owner = f"source {reference}"
        known = [(p, s) for p, s in self.components("backbone") if isinstance(s, BackboneSpec)]
        if reference.plugin is None:
            if not any(spec.name == reference.name for _, spec in known):
                raise SourceError(f"{owner}: {self._no_such_name(reference.name)}")
            return _only(known, reference.name, owner, SourceError)
        own = [(p, s) for p, s in known if p == reference.plugin]
        if any(spec.name == reference.name for _, spec in own):
            return _only(own, reference.name, owner, SourceError)
        families_named = [(p, s) for p, s in self.families() if s.name == reference.plugin]
        if len(families_named) > 1:
            plugins = " and ".join(plugin for plugin, _ in families_named)
            raise SourceError(
                f"{owner}: plugins {plugins} both have a family {reference.plugin!r}. "
                f"Leave one out with {BLOCK}."
            )
        if families_named:
            plugin, family = families_named[0]
            return plugin, describe_backbone(family, reference.name)
        self._check_plugin(reference.plugin, owner, SourceError)
        return _only(own, reference.name, owner, SourceError)

    def _no_such_name(self, name: str) -> str:
        known = {one.name for one in self.plain_names()}
        known |= {spec.name for _, spec in self.components("backbone")}
        families = ", ".join(f"{spec.name}:NAME" for _, spec in self.families())
        absent = [n for n in _FIRST_PARTY if n not in {status.name for status in self.plugins}]
        return (
            f"unknown name {name!r}.{did_you_mean(name, known)}{_folder(name)} "
            "Names: medfuse sources list."
            + (f" Families are asked by name: {families}." if families else "")
            + (f" Not installed: medfuse-{', medfuse-'.join(absent)}." if absent else "")
        )

    def _check_plugin(self, name: str, owner: str, error: type[MedfuseError]) -> None:
        status = next((p for p in self.plugins if p.name == name), None)
        if status is None and not any(c.plugin == name for c in self._contributions):
            names = {p.name for p in self.plugins} | {spec.name for _, spec in self.families()}
            remedy = f" Run: pip install medfuse-{name}" if name in _FIRST_PARTY else ""
            raise error(
                f"{owner}: no plugin {name!r} is installed, found {', '.join(sorted(names))}."
                f"{remedy or did_you_mean(name, names)}"
            )
        if status is not None and status.status == "broken":
            raise PluginError(f"{owner}: plugin {name} is broken: {status.reason}")
        if status is not None and status.status == "blocked":
            raise PluginError(f"{owner}: plugin {name} is left out by {BLOCK}.")


def load_registry() -> Registry:
    """Return the registry of all installed plugins; a broken one is listed, not fatal.

    Raises:
        PluginError: a plugin is broken, and ``MEDFUSE_STRICT_PLUGINS`` is set.
    """
    found = find_plugins()
    return Registry(
        (status for status, _ in found),
        (contribution for _, contribution in found if contribution is not None),
    )


def _folder(name: str) -> str:
    """Return a hint if an unknown name is that of a folder."""
    try:
        is_one = Path(name).is_dir()
    except (OSError, ValueError):  # no name of a file at all
        return ""
    return f" The folder {name} holds no source.json, so it is no source." if is_one else ""


def _attach(contribution: Contribution, trainer: Any, run: Any) -> None:
    try:
        contribution.attach_handlers(trainer, run)
    except Exception as error:
        raise PluginError(
            f"plugin {contribution.plugin}: medfuse_attach_handlers raised "
            f"{type(error).__name__}: {error}. "
            f"Set {BLOCK}={contribution.plugin} to go without it."
        ) from error


def _only(
    known: Sequence[tuple[str, _SpecT]],
    name: str,
    owner: str,
    error: type[MedfuseError],
) -> tuple[str, _SpecT]:
    matches = [(plugin, spec) for plugin, spec in known if spec.name == name]
    if len(matches) > 1:
        choices = " or ".join(f"{plugin}:{name}" for plugin, _ in matches)
        raise error(f"{owner}: several plugins offer {name!r}. Write {choices}.")
    if not matches:
        names = sorted({spec.name for _, spec in known})
        shown = f"expected one of {', '.join(names)}" if names else "there is none of this kind"
        raise error(f"{owner}: unknown name {name!r}, {shown}.{did_you_mean(name, names)}")
    return matches[0]
