"""MedMNIST (2D and 3D): archives of small images; the package ``medmnist`` fetches them."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medfuse.data.medmnist_classes import MEDMNIST_CLASSES
from medfuse.data.public.described import Fetched, FetchOptions, PublicSet
from medfuse.errors import CohortError, ConfigError
from medfuse.storage import write_text

_CITATION = "Yang et al. 2023, MedMNIST v2, Scientific Data 10:41, doi 10.1038/s41597-022-01721-8"
# Names and licenses as in medmnist 3.0.2; chestmnist has 14 labels per image and is left out.
_BY = "CC BY 4.0"
_SETS: Mapping[str, tuple[str, str]] = {
    "pathmnist": ("colon pathology, 9 tissues", _BY),
    "dermamnist": ("dermatoscopy, 7 lesions", "CC BY-NC 4.0"),
    "octmnist": ("retinal OCT, 4 findings", _BY),
    "pneumoniamnist": ("chest X-ray of children, pneumonia", _BY),
    "retinamnist": ("fundus photographs, 5 grades", _BY),
    "breastmnist": ("breast ultrasound, malignant or not", _BY),
    "bloodmnist": ("blood cells, 8 types", _BY),
    "tissuemnist": ("kidney cortex cells, 8 types", _BY),
    "organamnist": ("abdominal CT, axial, 11 organs", _BY),
    "organcmnist": ("abdominal CT, coronal, 11 organs", _BY),
    "organsmnist": ("abdominal CT, sagittal, 11 organs", _BY),
    "organmnist3d": ("abdominal CT, 11 organs", _BY),
    "nodulemnist3d": ("chest CT, lung nodules", _BY),
    "adrenalmnist3d": ("abdominal CT, adrenal shape", _BY),
    "fracturemnist3d": ("chest CT, rib fractures", _BY),
    "vesselmnist3d": ("brain MRA, aneurysm", _BY),
    "synapsemnist3d": ("electron microscopy, synapses", _BY),
}
_SIZES, _SIZES_3D = (28, 64, 128, 224), (28, 64)
_URL = "https://zenodo.org/records/10519652/files"
_PARTS = {"train": "training", "val": "validation", "test": "test"}
_LOGGER = logging.getLogger("medfuse")


def medmnist_sets() -> list[PublicSet]:
    """Return the single-label sets of MedMNIST."""
    return [
        PublicSet(name, summary, 3 if name.endswith("3d") else 2, license_, _CITATION, _fetch)
        for name, (summary, license_) in _SETS.items()
    ]


def _fetch(described: PublicSet, options: FetchOptions) -> Fetched:
    sizes = _SIZES_3D if described.dimensions == 3 else _SIZES
    size = 28 if options.size is None else options.size
    if size not in sizes:
        raise ConfigError(
            f"{described.name}: size is {size}, expected {', '.join(map(str, sizes))}."
        )
    archive = options.folder / f"{described.name}{_suffix(size)}.npz"
    if not archive.is_file():
        _require_download(archive, options)
        _download(described.name, options)
    notes = ["Training, validation and test are the official parts.", *_compared(archive, size)]
    classes = MEDMNIST_CLASSES[described.name]
    cohort = archive.with_suffix(".json")
    write_text(cohort, json.dumps(_datalist(archive, classes), ensure_ascii=False) + "\n")
    return Fetched(cohort, classes, tuple(notes))


def _suffix(size: int) -> str:
    return "" if size == 28 else f"_{size}"


def _compared(archive: Path, size: int) -> list[str]:
    """Return a note if the file could not be compared with the published one; warn if it differs.

    The package that knows the digests is optional, since a file that is there needs no network.
    """
    try:
        from medmnist.info import INFO
    except ImportError:
        return ["Not compared with the published file: that needs the package medmnist."]
    published = INFO[archive.stem.partition("_")[0]].get(f"MD5{_suffix(size)}")
    if _md5(archive) != published:
        _LOGGER.warning("%s: is not the published file (another MD5)", archive)
    return []


def _require_download(archive: Path, options: FetchOptions) -> None:
    if not options.download:
        raise CohortError(
            f"{archive}: there is no such file, and the network is not used. Copy it from "
            f"{_URL}/{archive.name}, or allow the network with --download."
        )


def _download(name: str, options: FetchOptions) -> None:
    try:
        import medmnist
    except ImportError as error:
        raise CohortError(
            f"{name}: needs the package medmnist to be fetched. Install it: "
            "pip install 'medfuse[medmnist]'."
        ) from error
    options.folder.mkdir(parents=True, exist_ok=True)
    build = getattr(medmnist, medmnist.INFO[name]["python_class"])
    try:
        build(split="train", download=True, root=str(options.folder), size=options.size or 28)
    except (RuntimeError, OSError) as error:
        first = " ".join(str(error).split())[:120]
        raise CohortError(f"{name}: could not be fetched ({first}).") from error


def _datalist(archive: Path, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return a MONAI data list that names every image of the archive."""
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            labels = {
                part: arrays[f"{part}_labels"].reshape(-1).tolist()
                for part in _PARTS
                if f"{part}_labels" in arrays.files
            }
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CohortError(f"{archive}: cannot be read as a .npz archive ({error}).") from error
    if not labels:
        raise CohortError(f"{archive}: holds no train_labels, as every MedMNIST archive does.")
    lists = {
        _PARTS[part]: [
            {
                "case_id": f"{part}/{index:06d}",
                "image": f"{archive.name}::{part}_images::{index}",
                "label": int(label),
            }
            for index, label in enumerate(values)
        ]
        for part, values in labels.items()
    }
    return {"labels": {str(index): name for index, name in enumerate(classes)}, **lists}


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
