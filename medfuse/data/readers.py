"""Which readers the installed plugins bring, and which of them a cohort needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from medfuse.contract import PublicTarget, ReaderSpec, VendoredSource, resolve_options
from medfuse.data.cells import holds_cells
from medfuse.data.plugin_reader import BUILT_IN_ENDINGS, PluginReader, longest_ending
from medfuse.errors import PluginError
from medfuse.registry import Registry, load_factory
from medfuse.registry.discovery import BLOCK
from medfuse.registry.provenance import origin_of
from medfuse.registry.vendoring import vendored_target

_BUILT_IN = "medfuse"
_READER = "medfuse.data.plugin_reader:PluginReader"


@dataclass(frozen=True)
class InstalledReader:
    """A plugin's reader, and how it lives on in a bundle.

    Attributes:
        plugin: its name.
        spec: what it says of itself.
    """

    plugin: str
    spec: ReaderSpec

    @property
    def name(self) -> str:
        """Plugin and reader: ``plugin:reader``."""
        return f"{self.plugin}:{self.spec.name}"

    @cached_property
    def reader(self) -> PluginReader:
        """The reader itself; its module is imported now.

        Raises:
            PluginError: a requirement is missing, or the import fails; names the plugin.
        """
        try:
            factory = load_factory(self.spec)
        except PluginError as error:
            raise PluginError(
                f"plugin {self.plugin}: {error} Set {BLOCK}={self.plugin} to go without it."
            ) from error
        return PluginReader(self.name, self.spec.suffixes, partial(factory, **self._options))

    @property
    def in_bundles(self) -> bool:
        """Whether a bundle can read the format where the plugin is absent."""
        return isinstance(self.spec.export, PublicTarget | VendoredSource)

    @property
    def node(self) -> dict[str, Any]:
        """The MONAI configuration node that rebuilds the reader in a bundle."""
        export, constants = self.spec.export, {}
        target = vendored_target(self.spec.factory)
        if isinstance(export, PublicTarget):
            target, constants = export.target, dict(export.kwargs)
        read = {"_target_": target, "_mode_": "callable", **constants, **self._options}
        return {
            "_target_": vendored_target(_READER),
            "name": self.name,
            "suffixes": list(self.spec.suffixes),
            "read": read,
        }

    @property
    def vendored(self) -> tuple[str, ...]:
        """Modules that the bundle must hold a copy of."""
        export = self.spec.export
        return export.modules if isinstance(export, VendoredSource) else ()

    @property
    def requires(self) -> tuple[str, ...]:
        """Distributions that a user of the bundle must install."""
        return getattr(self.spec.export, "requires", ())

    @property
    def identity(self) -> dict[str, Any]:
        """Plain data; two readers of equal identity read a file alike."""
        return {"name": self.name, "options": self._options, **origin_of(self.plugin, self.spec)}

    @property
    def _options(self) -> dict[str, Any]:
        return resolve_options(self.spec.options, {}, f"reader {self.name}")


@dataclass(frozen=True)
class Readers:
    """The readers of all plugins; none is imported before a file needs it."""

    installed: tuple[InstalledReader, ...] = ()

    @property
    def endings(self) -> tuple[str, ...]:
        """Endings of the files that plugins read, beside the built-in ones."""
        found = {end for one in self.installed for end in one.spec.suffixes}
        return tuple(sorted(found - set(BUILT_IN_ENDINGS)))

    def used_by(self, references: Iterable[str]) -> tuple[InstalledReader, ...]:
        """Return the readers that some files need, in the order of their plugins.

        Args:
            references: of files; cells of a table are passed over.

        Raises:
            PluginError: two plugins, or a plugin and medfuse itself, read a file's ending.
        """
        if not self.installed:
            return ()
        claims = {one.name: one.spec.suffixes for one in self.installed}
        claims[_BUILT_IN] = BUILT_IN_ENDINGS
        paths = (item.partition("::")[0] for item in references if not holds_cells(item))
        needed = {_owner(path, claims) for path in paths}
        return tuple(one for one in self.installed if one.name in needed)


def _owner(path: str, claims: Mapping[str, Sequence[str]]) -> str:
    """Return who reads a file; empty where nobody knows its ending."""
    name = path.lower()
    found = {owner: longest_ending(name, endings) for owner, endings in claims.items()}
    most = max(map(len, found.values()))
    owners = [owner for owner, end in found.items() if end and len(end) == most]
    if len(owners) > 1:
        raise PluginError(
            f"{path}: {' and '.join(owners)} both read {found[owners[0]]!r}. "
            f"Leave a plugin out with {BLOCK}={owners[0].partition(':')[0]}."
        )
    return owners[0] if owners else ""


def installed_readers(registry: Registry) -> Readers:
    """Return the readers of the sound plugins."""
    found = registry.components("reader")
    return Readers(
        tuple(InstalledReader(plugin, s) for plugin, s in found if isinstance(s, ReaderSpec))
    )
