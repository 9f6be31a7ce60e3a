"""What a bundle can be exported for, and the steps that all exports share."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medfuse.bundle.export.modules import copy_license
from medfuse.bundle.export.plugin import PluginExport, plugin_export
from medfuse.bundle.export.subject import Subject, read_subject
from medfuse.bundle.license_gate import accepted_terms, require_accepted
from medfuse.errors import BundleError, ConfigError, OutputError
from medfuse.registry import load_registry
from medfuse.storage import atomic_folder
from medfuse.suggest import did_you_mean


@dataclass(frozen=True)
class ExportKind:
    """One program that bundles are exported for.

    Attributes:
        summary: what the folder is, for the command line.
        writer: ``module:function`` that takes a `Subject` and an empty folder, fills it, and
            returns what its user should know: remarks, one line each. License and bundle are
            added to what it writes.
        start: how the folder is started, from within it.
    """

    summary: str
    writer: str
    start: str

    def write(self, subject: Subject, folder: Path) -> tuple[str, ...]:
        """Fill ``folder``, the bundle with it; return remarks."""
        module, _, name = self.writer.partition(":")
        write: Callable[[Subject, Path], tuple[str, ...]]
        write = getattr(importlib.import_module(module), name)
        remarks = write(subject, folder)
        copy_license(folder)
        subject.copy_to(folder / "model" / subject.folder_name)
        return remarks


KINDS = MappingProxyType(
    {
        "label": ExportKind(
            summary="a MONAI Label app that serves the bundle and fine-tunes it",
            writer="medfuse.bundle.export.label:write_app",
            start="python -m monailabel.main start_server --app . --studies STUDIES "
            "--host 127.0.0.1 --port 8000",
        ),
        "deploy": ExportKind(
            summary="a MONAI Deploy application that judges a DICOM series and writes JSON and a "
            "structured report",
            writer="medfuse.bundle.export.deploy:write_app",
            start="python . --input IN --output OUT",
        ),
    }
)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        start: how it is started, from within the folder; empty where a plugin wrote it.
        remarks: what its user should know, one line each.
    """

    folder: Path
    start: str
    remarks: tuple[str, ...]


def export_bundle(
    bundle: Path | str,
    kind: str,
    out: Path | str,
    accept_licenses: Collection[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Exported:
    """Write the folder from which another program serves a bundle, whole or not at all.

    Args:
        bundle: its folder, ``<name>_classification``; it is copied, and not executed.
        kind: a key of `KINDS`, or an exporter of a plugin, ``NAME`` or ``PLUGIN:NAME``.
        out: a folder that does not exist yet, or is empty.
        accept_licenses: those that restrict the use of its weights and that you keep to, beside
            those that were accepted when it was written.
        options: of a plugin's exporter.

    Raises:
        BundleError: the kind is unknown, the folder is no bundle, was changed since it was
            written, is one that the program cannot take, or holds weights whose license restricts
            their use and was not accepted.
        PluginError: a plugin's exporter cannot be imported, raised, or wrote nothing.
        ConfigError: an option that the exporter does not know.
        OutputError: something is at ``out`` already, or it cannot be written.
    """
    export = _export_of(kind, options or {})
    subject = read_subject(Path(bundle))
    accepted = (*subject.block.get("accepted_licenses", {}), *accept_licenses)
    require_accepted(subject.part_licenses, accepted)
    target = Path(out)
    _require_free(target)
    with atomic_folder(target) as folder:
        remarks = export.write(subject, folder)
    terms = accepted_terms(subject.part_licenses)
    binding = tuple(f"license {name} {what}, here too" for name, what in terms.items())
    return Exported(target, export.start, (*remarks, *binding))


def _export_of(kind: str, options: Mapping[str, Any]) -> ExportKind | PluginExport:
    if kind in KINDS:
        if options:
            raise ConfigError(f"export for {kind!r} takes no options, found {', '.join(options)}.")
        return KINDS[kind]
    registry = load_registry()
    known = [*KINDS, *(spec.name for _, spec in registry.components("exporter"))]
    if ":" not in kind and kind not in known:
        hint = did_you_mean(kind, known)
        raise BundleError(f"export for {kind!r} is unknown.{hint} Known: {', '.join(known)}.")
    return plugin_export(kind, options, registry)


def _require_free(target: Path) -> None:
    if target.is_symlink() or target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise OutputError(
            f"{target}: exists, and an export replaces nothing. Remove it or choose another --out."
        )
