"""Find: installed plugins -> the components they describe, by name. Imports no torch.

`load_registry` finds the plugins, `Registry` resolves names, `parse_source` reads the text of
``use:``, `load_factory` imports what a spec names, and `medfuse.registry.vendoring` copies sources
into bundles.
"""

from medfuse.registry.discovery import PluginStatus
from medfuse.registry.factories import load_factory
from medfuse.registry.families import describe_backbone, family_names
from medfuse.registry.measurements import Measurement, read_measurements
from medfuse.registry.plain_names import PlainName
from medfuse.registry.references import (
    RANDOM_WEIGHTS,
    SourceReference,
    parse_source,
    select_weights,
)
from medfuse.registry.registry import Registry, load_registry

__all__ = [
    "RANDOM_WEIGHTS",
    "Measurement",
    "PlainName",
    "PluginStatus",
    "Registry",
    "SourceReference",
    "describe_backbone",
    "family_names",
    "load_factory",
    "load_registry",
    "parse_source",
    "read_measurements",
    "select_weights",
]
