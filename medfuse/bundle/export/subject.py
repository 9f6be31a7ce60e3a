"""A bundle that is to be exported: read as data, never executed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuse.bundle.digests import DIGESTS, SIGNATURE, check_digests, read_digests
from medfuse.bundle.metadata import FORMAT
from medfuse.bundle.names import bundle_folder_name
from medfuse.errors import BundleError


@dataclass(frozen=True)
class Subject:
    """What an export needs to know of a bundle.

    Attributes:
        root: its folder.
        metadata: ``metadata.json``.
        inference: ``inference.json``.
    """

    root: Path
    metadata: Mapping[str, Any]
    inference: Mapping[str, Any]

    @property
    def folder_name(self) -> str:
        """``<name>_classification``, whatever the folder is called now."""
        return bundle_folder_name(str(self.metadata["name"]))

    @property
    def inputs(self) -> Mapping[str, Mapping[str, Any]]:
        """What ``metadata.json`` says of each input, by name."""
        found: Mapping[str, Mapping[str, Any]] = self.metadata["network_data_format"]["inputs"]
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the probabilities."""
        pred = self.metadata["network_data_format"]["outputs"]["pred"]
        return tuple(pred["channel_def"].values())

    @property
    def block(self) -> Mapping[str, Any]:
        """The block ``medfuse`` of ``metadata.json``."""
        found: Mapping[str, Any] = self.metadata["medfuse"]
        return found

    @property
    def part_licenses(self) -> dict[str, str]:
        """The SPDX expression of each source's weights."""
        sources = self.block.get("sources", [])
        return {f"source {one['label']}": str(one["license"]) for one in sources}

    @property
    def packages(self) -> Mapping[str, str]:
        """Distribution -> version that its scripts need."""
        found: Mapping[str, str] = self.metadata["required_packages_version"]
        return found

    def require_one_image(self, program: str) -> None:
        """Pass if a case is one image or volume.

        Raises:
            BundleError: cases are rows of a table.
        """
        if "case_inputs" not in self.inference:
            return
        names = list(self.inputs)
        what = f"input {names[0]}, a table row" if len(names) == 1 else f"inputs {_these(names)}"
        raise BundleError(
            f"{self.root}: takes {what}, but {program} hands a network one image. Use "
            "'medfuse predict' or 'python -m monai.bundle run' with a table of cases."
        )

    def copy_to(self, folder: Path) -> None:
        """Copy the files that the bundle was written with, and none that came later."""
        signed = [SIGNATURE] if (self.root / SIGNATURE).is_file() else []
        for name in (*read_digests(self.root), DIGESTS, *signed):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / name, target)


def read_subject(root: Path) -> Subject:
    """Return the bundle at ``root`` after a check of its digests.

    Raises:
        BundleError: it is no bundle of this format, or a file is not as it was written.
    """
    if not (root / "configs" / "metadata.json").is_file():
        raise BundleError(f"{root}: not a bundle. Give a folder <name>_classification.")
    check_digests(root)
    metadata, inference = (_read(root, name) for name in ("metadata.json", "inference.json"))
    found = metadata.get("medfuse", {}).get("format")
    if found != FORMAT:
        raise BundleError(
            f"{root}: bundle format {found}, expected {FORMAT}. "
            "Use the medfuse version that wrote it, or write it anew."
        )
    subject = Subject(root, metadata, inference)
    _check_parts(subject)
    return subject


def _check_parts(subject: Subject) -> None:
    """Pass if everything that an export takes from the metadata is there, and fits."""
    place = subject.root / "configs" / "metadata.json"
    try:
        _ = subject.folder_name, dict(subject.inputs), dict(subject.packages)
        classes = list(subject.classes)
        _ = subject.part_licenses
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BundleError(
            f"{place}: not that of a bundle ({type(error).__name__}: {error}). Copy the bundle "
            "again."
        ) from error
    if subject.inference.get("class_names") != classes:
        raise BundleError(
            f"{place}: its classes {', '.join(classes)} are not the class_names of inference.json. "
            "Copy the bundle again."
        )


def _read(root: Path, name: str) -> dict[str, Any]:
    path = root / "configs" / name
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read ({error}). Copy the bundle again.") from error
    if not isinstance(found, dict) or not isinstance(found.get("medfuse", {}), dict):
        raise BundleError(f"{path}: not that of a bundle. Copy the bundle again.")
    return found


def _these(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
