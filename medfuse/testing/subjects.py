"""Open the plugin under test, by the name it is installed under or by its module."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points

from medfuse.contract import ENTRY_POINT_GROUP
from medfuse.errors import PluginError
from medfuse.registry.contribution import Contribution, contribution_of
from medfuse.registry.discovery import import_plugin
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
    def package(self) -> str:
        """The plugin's own top-level package, absent where a bundle runs."""
        return self.module.partition(".")[0]


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
        installed = [entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)]
        hint = did_you_mean(name_or_module, installed) if "there is no module" in str(error) else ""
        raise PluginError(f"{error}{hint}") from error
    return Subject(name_or_module, module, contribution_of(imported, name_or_module))
