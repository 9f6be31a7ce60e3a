"""MedMNIST (2D and 3D): archives of small images, with the package ``medmnist`` for their names."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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
_PARTS = {"train": "training", "val": "validation", "test": "test"}
_LOGGER = logging.getLogger("medfuse")


def medmnist_sets() -> list[PublicSet]:
    """Return the single-label sets of MedMNIST."""
    return [
        PublicSet(name, summary, 3 if name.endswith("3d") else 2, license_, _CITATION, _fetch)
        for name, (summary, license_) in _SETS.items()
    ]


def _fetch(described: PublicSet, options: FetchOptions) -> Fetched:
    info = _info(described.name)
    suffix = "" if options.size in (None, 28) else f"_{options.size}"
    if f"MD5{suffix}" not in info:
        sizes = sorted({28, *(int(key[4:]) for key in info if key.startswith("MD5_"))})
        raise ConfigError(
            f"{described.name}: size is {options.size}, expected {', '.join(map(str, sizes))}."
        )
    archive = options.folder / f"{described.name}{suffix}.npz"
    if not archive.is_file():
        _require_download(archive, info[f"url{suffix}"], options)
        _download(described.name, options)
    if _md5(archive) != info[f"MD5{suffix}"]:
        _LOGGER.warning("%s: is not the published file (another MD5)", archive)
    classes = tuple(info["label"][str(index)] for index in range(len(info["label"])))
    cohort = archive.with_suffix(".json")
    write_text(cohort, json.dumps(_datalist(archive, classes), ensure_ascii=False) + "\n")
    return Fetched(cohort, classes, ("Training, validation and test are the official parts.",))


def _info(name: str) -> Mapping[str, Any]:
    try:
        from medmnist.info import INFO
    except ImportError as error:
        raise CohortError(
            f"{name}: needs the package medmnist. Install it: pip install 'medfuse[medmnist]'."
        ) from error
    return dict(INFO[name])


def _require_download(archive: Path, url: str, options: FetchOptions) -> None:
    if not options.download:
        raise CohortError(
            f"{archive}: there is no such file, and the network is not used. Copy it from "
            f"{url.partition('?')[0]}, or allow the network with --download."
        )


def _download(name: str, options: FetchOptions) -> None:
    import medmnist

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
