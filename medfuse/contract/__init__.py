"""Describe: everything a plugin author imports. Importing it never imports torch.

A plugin is a module named by an entry point of the group ``medfuse``. It implements some of the
hooks in `medfuse.contract.hookspecs` with ``@hookimpl`` and yields the frozen specs below.
"""

from medfuse.contract.components import (
    ComponentSpec,
    DecisionFusionSpec,
    ExplainerSpec,
    ExporterSpec,
    FeatureFusionSpec,
    HeadSpec,
    MetricSpec,
    ReaderSpec,
)
from medfuse.contract.exports import Export, GraphOnly, PublicTarget, VendoredSource
from medfuse.contract.hookspecs import API_VERSION, ENTRY_POINT_GROUP, hookimpl, hookspec
from medfuse.contract.options import Option, resolve_options
from medfuse.contract.sources import (
    BackboneFamilySpec,
    BackboneSpec,
    Normalization,
    Stage,
    WeightsSpec,
)

__all__ = [
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "BackboneFamilySpec",
    "BackboneSpec",
    "ComponentSpec",
    "DecisionFusionSpec",
    "ExplainerSpec",
    "Export",
    "ExporterSpec",
    "FeatureFusionSpec",
    "GraphOnly",
    "HeadSpec",
    "MetricSpec",
    "Normalization",
    "Option",
    "PublicTarget",
    "ReaderSpec",
    "Stage",
    "VendoredSource",
    "WeightsSpec",
    "hookimpl",
    "hookspec",
    "resolve_options",
]
