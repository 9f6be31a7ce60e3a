"""``export --for NAME``, where a plugin brings what writes the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuse.bundle.export.subject import Subject
from medfuse.contract import ExporterSpec, resolve_options
from medfuse.errors import MedfuseError, PluginError
from medfuse.registry import Registry
from medfuse.registry.factories import load_factory


@dataclass(frozen=True)
class PluginExport:
    """An exporter of a plugin, with its options.

    Attributes:
        spec: what the plugin declares.
        options: checked keywords for its factory.
        start: how the folder is started; nobody says it of a plugin's.
    """

    spec: ExporterSpec
    options: Mapping[str, Any]
    start: str = ""

    def write(self, subject: Subject, folder: Path) -> tuple[str, ...]:
        """Let the plugin fill ``folder``; there are no remarks.

        Raises:
            PluginError: it cannot be imported, it raised, or it wrote nothing.
        """
        owner = f"exporter {self.spec.name}"
        export = load_factory(self.spec)
        try:
            export(subject.root.resolve(), folder, **self.options)
        except MedfuseError:
            raise
        except Exception as error:
            raise PluginError(f"{owner} raised {type(error).__name__}: {error}") from error
        if not any(folder.iterdir()):
            raise PluginError(f"{owner}: wrote nothing into the folder that it was given.")
        return ()


def plugin_export(name: str, options: Mapping[str, Any], registry: Registry) -> PluginExport:
    """Return the exporter of a plugin by its name, ``NAME`` or ``PLUGIN:NAME``.

    Raises:
        PluginError: no plugin has it, or several do.
        ConfigError: an option that it does not know, or a wrong value.
    """
    spec = registry.exporter(name)
    return PluginExport(spec, resolve_options(spec.options, options, f"exporter {spec.name}"))
