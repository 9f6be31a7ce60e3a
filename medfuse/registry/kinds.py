"""The kinds of component: which hook brings each, and as which spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

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

Spec: TypeAlias = ComponentSpec | BackboneFamilySpec

ATTACH_HANDLERS = "medfuse_attach_handlers"


@dataclass(frozen=True)
class Kind:
    """One kind of component.

    Attributes:
        name: singular noun, as in error texts.
        hook: the hook that yields it.
        types: what the hook may yield.
    """

    name: str
    hook: str
    types: tuple[type[Spec], ...]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("backbone", "medfuse_backbones", (BackboneSpec, BackboneFamilySpec)),
        Kind("fusion", "medfuse_fusions", (FeatureFusionSpec, DecisionFusionSpec)),
        Kind("head", "medfuse_heads", (HeadSpec,)),
        Kind("reader", "medfuse_readers", (ReaderSpec,)),
        Kind("metric", "medfuse_metrics", (MetricSpec,)),
        Kind("explainer", "medfuse_explainers", (ExplainerSpec,)),
        Kind("exporter", "medfuse_exporters", (ExporterSpec,)),
    )
}
