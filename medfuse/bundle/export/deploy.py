"""``export --for deploy``: a MONAI Deploy application with the bundle in it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from string import Template
from types import MappingProxyType

from medfuse.bundle.export.modules import copy_modules
from medfuse.bundle.export.subject import Subject
from medfuse.errors import BundleError
from medfuse.storage import write_text

PYTHON = "3.11"
# Installed and run together on a CPU; the SDK itself asks for neither monai, torch nor pydicom.
_PROGRAM = MappingProxyType(
    {
        "monai-deploy-app-sdk": "4.0.0",
        "holoscan-cu13": "4.6.0",
        "monai": "1.6.1",
        "torch": "2.15.0",
        "torchvision": "0.29.2",
        "numpy": "2.4.6",
        "pydicom": "3.0.2",
        "highdicom": "0.28.2",
    }
)
_APP, _REPORTS = "deploy_app", "dicom_report"


def write_app(subject: Subject, folder: Path) -> tuple[str, ...]:
    """Write the application into ``folder``; it has no remarks.

    Raises:
        BundleError: the bundle takes several inputs or a table row, or reads no DICOM.
    """
    subject.require_one_image("MONAI Deploy")
    if "dicom" not in str(subject.metadata["data_type"]).split(", "):
        raise BundleError(f"{subject.root}: reads no DICOM, which is what MONAI Deploy hands over.")
    source = files("medfuse.bundle").joinpath(_APP)
    copy_modules(source, folder)
    reports = folder / "lib" / _REPORTS
    copy_modules(files("medfuse.bundle").joinpath(_REPORTS), reports)
    write_text(reports / "__init__.py", '"""Structured reports; copied from medfuse."""\n')
    values = _values(subject)
    for name in ("README.md", "app.yaml"):
        template = Template(source.joinpath(f"{name}.tmpl").read_text(encoding="utf-8"))
        write_text(folder / name, template.substitute(values))
    write_text(folder / "requirements.txt", requirements_text(subject))
    return ()


def requirements_text(subject: Subject) -> str:
    """Return the lines of ``requirements.txt``: everything pinned that decides a probability."""
    further = {**subject.packages, **subject.block.get("optional_packages", {})}
    pins = {**{name: further[name] for name in sorted(further)}, **_PROGRAM}
    lines = [f"{name}=={version.lstrip('>=')}" for name, version in pins.items()]
    return "\n".join([f"# Measured together with Python {PYTHON}.", *lines]) + "\n"


def _values(subject: Subject) -> dict[str, str]:
    image = subject.inputs["image"]
    volume = len(image["spatial_shape"]) == 3
    return {
        "name": subject.folder_name,
        "title": json.dumps(str(subject.metadata["name"])),
        "version": json.dumps(str(subject.metadata["version"])),
        "python": PYTHON,
        "case": "series of slices" if volume else "image",
        "modality": str(image["modality"]),
        "several": "AMBIGUOUS_SERIES" if volume else "SEVERAL_IMAGES",
        "classes": ", ".join(subject.classes),
    }
