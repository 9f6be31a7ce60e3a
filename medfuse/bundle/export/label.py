"""``export --for label``: a MONAI Label app with the bundle in it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from string import Template
from types import MappingProxyType

from medfuse.bundle.export.modules import copy_modules
from medfuse.bundle.export.subject import Subject
from medfuse.bundle.label_app.lib.served_bundle import ServedBundle
from medfuse.storage import write_text

PYTHON = "3.11"
# Installed and run together. MONAI Label 0.8.5 needs pydicom below 3 (its pydicom-seg imports what
# pydicom 3 lacks, and does not say so) and numpy below 2; a server starts with nothing newer.
_SERVER = MappingProxyType(
    {
        "monailabel": "0.8.5",
        "monai": "1.6.1",
        "torch": "2.15.0",
        "torchvision": "0.29.2",
        "numpy": "1.26.4",
        "pydicom": "2.4.5",
    }
)
# Of what a bundle needs besides, the versions that take this numpy; others as the bundle says.
_WITH_SERVER = MappingProxyType(
    {
        "fire": "0.7.1",
        "nibabel": "5.4.2",
        "pillow": "13.0.0",
        "pytorch-ignite": "0.5.5",
        "scipy": "1.17.1",
        "simpleitk": "2.5.7",
        "tifffile": "2026.3.3",
    }
)
_APP = "label_app"
_TEMPLATE = "README.md.tmpl"


def write_app(subject: Subject, folder: Path) -> tuple[str, ...]:
    """Write the app into ``folder``; return what does not work with this bundle.

    Raises:
        BundleError: the bundle takes several inputs or a table row.
    """
    subject.require_one_image("MONAI Label")
    source = files("medfuse.bundle").joinpath(_APP)
    copy_modules(source, folder)
    remarks = _remarks(subject)
    readme = Template(source.joinpath(_TEMPLATE).read_text(encoding="utf-8"))
    write_text(folder / "README.md", readme.substitute(_values(subject, remarks)))
    write_text(folder / "requirements.txt", requirements_text(subject))
    return remarks


def requirements_text(subject: Subject) -> str:
    """Return the lines of ``requirements.txt``: everything pinned that decides a probability."""
    further = {name: version for name, version in subject.packages.items() if name not in _SERVER}
    pins = {**_SERVER, **{n: _WITH_SERVER.get(n, further[n]) for n in sorted(further)}}
    lines = [f"{name}=={version}" for name, version in pins.items()]
    head = f"# Measured together with Python {PYTHON}; pydicom 3 and numpy 2 do not work."
    return "\n".join([head, *lines]) + "\n"


def _remarks(subject: Subject) -> tuple[str, ...]:
    reason = ServedBundle(subject.root).not_trainable
    return (f"it serves, but cannot be trained: {reason}",) if reason else ()


def _values(subject: Subject, remarks: tuple[str, ...]) -> dict[str, str]:
    decoders = " ".join(subject.block.get("optional_packages") or ())
    name, first = subject.folder_name, subject.classes[0]
    return {
        "name": name,
        "python": PYTHON,
        "kind": "volume" if len(subject.inputs["image"]["spatial_shape"]) == 3 else "image",
        "classes": ", ".join(subject.classes),
        "label": f'{{"label": "{first}"}}',
        "decoders": decoders or "none",
        "remarks": "".join(f"**{remark[0].upper()}{remark[1:]}.**\n\n" for remark in remarks),
    }
