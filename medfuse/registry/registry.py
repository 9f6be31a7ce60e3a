"""Resolve the names of components among everything that sound plugins contribute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
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
from medfuse.registry.references import SourceReference, select_weights
from medfuse.suggest import did_you_mean

_SpecT = TypeVar("_SpecT", bound=ComponentSpec)
_FIRST_PARTY = ("mini", "monai", "timm", "torchvision")


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

        A family is asked only if its name stands in front: ``timm:resnet18``. Weights that
        describe themselves (`medfuse.registry.described`) come first among the backbone's.

        Raises:
            SourceError: the plugin, the backbone or its weights are unknown or ambiguous.
            PluginError: the plugin is broken.
        """
        plugin, spec = self._backbone(reference)
        weights = select_weights(spec, reference)
        if weights is not None and weights not in spec.weights:
            spec = replace(spec, weights=(weights, *spec.weights))
        return plugin, spec

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

    def _backbone(self, reference: SourceReference) -> tuple[str, BackboneSpec]:
        owner = f"source {reference}"
        known = [(p, s) for p, s in self.components("backbone") if isinstance(s, BackboneSpec)]
        if reference.plugin is None:
            families = ", ".join(f"{spec.name}:NAME" for _, spec in self.families())
            remedy = f" Families are asked by name: {families}." if families else ""
            return _only(known, reference.name, owner, SourceError, remedy)
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
    remedy: str = "",
) -> tuple[str, _SpecT]:
    matches = [(plugin, spec) for plugin, spec in known if spec.name == name]
    if len(matches) > 1:
        choices = " or ".join(f"{plugin}:{name}" for plugin, _ in matches)
        raise error(f"{owner}: several plugins offer {name!r}. Write {choices}.")
    if not matches:
        names = sorted({spec.name for _, spec in known})
        shown = f"expected one of {', '.join(names)}" if names else "there is none of this kind"
        raise error(f"{owner}: unknown name {name!r}, {shown}.{did_you_mean(name, names)}{remedy}")
    return matches[0]
