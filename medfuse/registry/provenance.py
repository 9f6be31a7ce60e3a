"""Which package, in which version and with which code, a component comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from medfuse.contract import ENTRY_POINT_GROUP, ComponentSpec, VendoredSource
from medfuse.errors import PluginError
from medfuse.registry.vendoring import package_files, vendored_path


def origin_of(plugin: str, spec: ComponentSpec) -> dict[str, str]:
    """Return what tells two editions of a component apart, as plain data.

    The version alone would not: a plugin under development changes its code and keeps its number.

    Args:
        plugin: name of the plugin that describes the component.
        spec: the component.

    Returns:
        ``distribution`` and ``version`` of the plugin's package, empty where it is not installed,
        and ``code``, a digest of the vendored modules' source (of other components of the
        factory's), empty where there is none.
    """
    found = [e.dist for e in entry_points(group=ENTRY_POINT_GROUP, name=plugin) if e.dist]
    return {
        "distribution": found[0].name if found else "",
        "version": found[0].version if found else "",
        "code": _digest(_sources(spec)),
    }


def _sources(spec: ComponentSpec) -> list[tuple[str, Path]]:
    """Return name and file of what a bundle would hold, or of the factory's own module."""
    if isinstance(spec.export, VendoredSource):
        return [found for module in spec.export.modules for found in _files(module, whole=True)]
    return _files(spec.factory.partition(":")[0], whole=False)


def _files(module: str, *, whole: bool) -> list[tuple[str, Path]]:
    try:
        path = vendored_path(module)
    except PluginError:  # compiled, or not there: whoever imports or copies it says so
        return []
    if not whole or path.name != "__init__.py":
        return [(module, path)]
    return [(f"{module}/{inside}", file) for inside, file in package_files(module).items()]


def _digest(sources: Iterable[tuple[str, Path]]) -> str:
    """Return a digest of names and bytes; where the files lie on this machine is no part of it."""
    files = [(name, path.read_bytes()) for name, path in sources]
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest() if files else ""
