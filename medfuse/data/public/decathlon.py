"""Medical Segmentation Decathlon: volumes with masks; the class is whether a structure is there."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medfuse.data.public.archive import fetch_archive
from medfuse.data.public.described import Fetched, FetchOptions, PublicSet
from medfuse.errors import CohortError, ConfigError
from medfuse.storage import write_text
from medfuse.suggest import did_you_mean

_CITATION = (
    "Antonelli et al. 2022, The Medical Segmentation Decathlon, Nature Communications 13:4128, "
    "doi 10.1038/s41467-022-30695-9"
)
_TASKS = {
    "Task01_BrainTumour": "brain MR, four sequences, tumor",
    "Task02_Heart": "cardiac MR, left atrium",
    "Task03_Liver": "abdominal CT, liver and tumor",
    "Task04_Hippocampus": "brain MR, hippocampus",
    "Task05_Prostate": "prostate MR, two sequences",
    "Task06_Lung": "chest CT, tumor",
    "Task07_Pancreas": "abdominal CT, pancreas and tumor",
    "Task08_HepaticVessel": "abdominal CT, vessels and tumor",
    "Task09_Spleen": "abdominal CT, spleen",
    "Task10_Colon": "abdominal CT, tumor",
}
_READ_ERRORS = (OSError, ValueError, EOFError, zlib.error, nibabel.filebasedimages.ImageFileError)


def decathlon_sets() -> list[PublicSet]:
    """Return the ten tasks, by their names in lower case."""
    return [
        PublicSet(name.lower(), summary, 3, "CC BY-SA 4.0", _CITATION, _fetch, {"folder": name})
        for name, summary in _TASKS.items()
    ]


def _fetch(described: PublicSet, options: FetchOptions) -> Fetched:
    task = described.facts["folder"]
    folder = options.folder / task
    if not folder.is_dir():
        _download(task, folder, options)
    content = _described(folder)
    names = _structures(content, folder)
    items = [_absolute(item, folder) for item in content["training"]]
    present = [_present(mask) for _, mask in items]
    index = _chosen(names, present, options.structure, task)
    classes = (f"no {names[index]}", names[index])
    rows = [
        {"case_id": _stem(image), **_references(image, content), "label": int(index in found)}
        for (image, _), found in zip(items, present, strict=True)
    ]
    cohort = folder / "cohort.json"
    labels = {str(place): name for place, name in enumerate(classes)}
    write_text(cohort, json.dumps({"labels": labels, "training": rows}, indent=1) + "\n")
    note = f"The class is whether the mask holds {names[index]!r}; the sets were made to segment."
    return Fetched(cohort, classes, (note,))


def _download(task: str, folder: Path, options: FetchOptions) -> None:
    def source() -> tuple[str, str]:
        from monai.apps.datasets import DecathlonDataset

        return DecathlonDataset.resource[task], DecathlonDataset.md5[task]

    fetch_archive(task, folder, source, options)


def _described(folder: Path) -> dict[str, Any]:
    file = folder / "dataset.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CohortError(f"{file}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict) or not content.get("training") or "labels" not in content:
        raise CohortError(f"{file}: has no training list and labels, as every Decathlon task has.")
    return content


def _structures(content: Mapping[str, Any], folder: Path) -> dict[int, str]:
    try:
        names = {int(key): str(name) for key, name in content["labels"].items()}
    except (AttributeError, ValueError) as error:
        raise CohortError(f"{folder / 'dataset.json'}: labels are no numbered names.") from error
    return {index: name for index, name in names.items() if index > 0}


def _absolute(item: Any, folder: Path) -> tuple[Path, Path]:
    if not isinstance(item, Mapping) or not {"image", "label"} <= set(item):
        raise CohortError(f"{folder / 'dataset.json'}: a training item names no image and label.")
    return folder / str(item["image"]), folder / str(item["label"])


def _present(mask: Path) -> frozenset[int]:
    """Return the values that occur in a mask."""
    try:
        values = np.unique(np.asarray(nibabel.load(mask).dataobj))  # type: ignore[attr-defined]
    except _READ_ERRORS as error:
        raise CohortError(f"{mask}: cannot be read as a mask ({type(error).__name__}).") from error
    return frozenset(int(value) for value in values)


def _chosen(
    names: Mapping[int, str],
    present: Sequence[frozenset[int]],
    wanted: str | None,
    task: str,
) -> int:
    """Return the structure that makes the classes: the last one that some cases have."""
    varying = [index for index in names if 0 < sum(index in p for p in present) < len(present)]
    if wanted is None and not varying:
        raise CohortError(
            f"{task}: every case has the same structures ({', '.join(names.values())}), so there "
            "is nothing to classify. Choose another task."
        )
    if wanted is None:
        return max(varying)
    found = next((index for index, name in names.items() if name == wanted), None)
    if found is None:
        raise ConfigError(
            f"{task}: no structure {wanted!r}, found {', '.join(names.values())}."
            f"{did_you_mean(wanted, list(names.values()))}"
        )
    if found not in varying:
        which = ", ".join(names[index] for index in varying) or "none"
        raise CohortError(f"{task}: {wanted!r} is in all cases or in none; varying: {which}.")
    return found


def _references(image: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """Return the file by input; of several sequences the first is ``image``, each has its own."""
    relative = f"{image.parent.name}/{image.name}"
    sequences = content.get("modality") or {}
    if len(sequences) < 2:
        return {"image": relative}
    ordered = sorted(sequences.items(), key=lambda item: int(item[0]))
    each = {str(name): f"{relative}::{index}" for index, name in ordered}
    return {"image": f"{relative}::{ordered[0][0]}", **each}


def _stem(image: Path) -> str:
    return image.name.removesuffix(".gz").removesuffix(".nii")
