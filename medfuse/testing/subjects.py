"""Open the plugin under test, by the name it is installed under or by its module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec

from medfuse.contract import ENTRY_POINT_GROUP, ComponentSpec, VendoredSource
from medfuse.errors import PluginError
from medfuse.registry.contribution import Contribution, contribution_of
from medfuse.registry.discovery import import_plugin
from medfuse.registry.providers import import_providers
from medfuse.suggest import did_you_mean


@dataclass(frozen=True)
class Subject:
    """A plugin under test.

    Attributes:
        name: the entry point's name, or the module's where it is not installed.
        module: the plugin module.
        contribution: what it yields.
    """

    name: str
    module: str
    contribution: Contribution

    @property
    def packages(self) -> frozenset[str]:
        """The plugin's own top-level packages and modules, absent where a bundle runs."""
        own = {self.module.partition(".")[0], *_installed_with(self.module)}
        for spec in self._components():
            if isinstance(spec.export, VendoredSource):
                own |= {module.partition(".")[0] for module in spec.export.modules}
        return frozenset(own)

    def _components(self) -> Iterator[ComponentSpec]:
        for specs in self.contribution.specs.values():
            yield from (spec for spec in specs if isinstance(spec, ComponentSpec))


def _installed_with(module: str) -> list[str]:
    """Return the top-level names of the distribution that installs a plugin module."""
    providers = import_providers()
    distributions = set(providers.get(module.partition(".")[0], ()))
    return [top for top, names in providers.items() if distributions & set(names)]


def module_of(name_or_module: str) -> str:
    """Return the module that an installed plugin's name stands for, or the module itself."""
    installed = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return installed.get(name_or_module, name_or_module)


def open_subject(name_or_module: str) -> Subject:
    """Return the plugin of that name, or the module of that name as a plugin.

    Raises:
        PluginError: there is none, or it cannot be taken by the registry.
    """
    module = module_of(name_or_module)
    try:
        imported = import_plugin(module)
    except PluginError as error:
        installed = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}
        if module in installed.values() or _is_there(module):
            raise
        raise PluginError(
            f"there is no module {module!r}, and no plugin of that name is installed. "
            "Run: pip install -e FOLDER, that of the plugin."
            f"{did_you_mean(name_or_module, list(installed))}"
        ) from error
    return Subject(name_or_module, module, contribution_of(imported, name_or_module))


def _is_there(module: str) -> bool:
    """Tell whether there is such a module, or at least its outermost package."""
    try:
        return find_spec(module.partition(".")[0]) is not None
    except ValueError:  # __main__ has no spec
        return True
