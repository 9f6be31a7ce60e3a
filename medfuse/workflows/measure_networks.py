"""Measure: a plugin's networks -> the table that listings read, written into the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfuse.backbones.measurement import measure_backbone
from medfuse.contract import BackboneSpec
from medfuse.errors import PluginError
from medfuse.registry import Measurement, Registry, load_registry, parse_source
from medfuse.registry.measurements import measurements_file, measurements_text
from medfuse.storage import write_text
from medfuse.suggest import did_you_mean


def measure_plugin(plugin: str, registry: Registry | None = None) -> dict[str, Measurement]:
    """Return what was measured of a plugin's backbones, and of its families' plain names.

    Those are measured whose spec names a table under ``measured``.

    Raises:
        PluginError: the plugin is unknown or names no table, or a network cannot be measured.
    """
    registry = registry or load_registry()
    if not _tables(plugin, registry):
        known = {status.name for status in registry.plugins} - {plugin}
        raise PluginError(
            f"plugin {plugin}: no installed plugin of this name has a spec with measured="
            f"'package:file'.{did_you_mean(plugin, known)}"
        )
    return {
        name: measure_backbone(registry.backbone(parse_source(use))[1])
        for name, use in _sources(plugin, registry)
    }


def write_measurements(plugin: str) -> Path:
    """Measure a plugin's networks and write its table; return the file.

    Raises:
        PluginError: as `measure_plugin`, or the plugin has several tables.
        OutputError: the file cannot be written.
    """
    registry = load_registry()
    tables = _tables(plugin, registry)
    if len(tables) > 1:
        raise PluginError(f"plugin {plugin}: tables {', '.join(sorted(tables))}, expected one.")
    text = measurements_text(measure_plugin(plugin, registry))
    file = Path(str(measurements_file(tables.pop())))
    write_text(file, text)
    return file


def _tables(plugin: str, registry: Registry) -> set[str]:
    specs = [*registry.components("backbone"), *registry.families()]
    found = {getattr(spec, "measured", None) for owner, spec in specs if owner == plugin}
    return {place for place in found if place}


def _sources(plugin: str, registry: Registry) -> Iterator[tuple[str, str]]:
    """Yield the name in the table, and the source that is measured for it."""
    for owner, spec in registry.components("backbone"):
        if owner == plugin and isinstance(spec, BackboneSpec) and spec.measured:
            yield spec.name, f"{plugin}:{spec.name}"
    for plain in registry.plain_names():
        if plain.plugin == plugin and plain.family.measured:
            yield plain.name, plain.member
