"""Generated cases that a bundle can be run on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from .subject import Bundle


def sample_folder(bundle: Bundle) -> Path:
    """Return a folder with one generated image of the network's own size, or a table of cases.

    The first case of a table has every input, each further one lacks another input if it may.
    """
    folder = bundle.work / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    if bundle.table is None:
        shape = bundle.inputs["image"]["spatial_shape"]
        _write_image(folder, "sample", shape, _bit_depth(_nodes(bundle)))
    else:
        _write_table(bundle, bundle.table, folder)
    return folder


def sample_count(bundle: Bundle) -> int:
    """Return how many cases `sample_folder` holds."""
    several = bundle.table is not None and len(bundle.table) > 1
    return 1 + len(bundle.inputs) if several and not _all_needed(bundle) else 1


def labelled_folder(bundle: Bundle) -> Path:
    """Return a folder with ``train`` and ``val``, each with a sample for every class.

    Of several labels, each part holds a table with the rows of `sample_answers`.
    """
    folder = bundle.work / "labelled"
    sample = next(sample_folder(bundle).iterdir())
    for part in ("train", "val"):
        if bundle.several_labels:
            _write_answers(bundle, sample, folder / part)
            continue
        for name in bundle.class_names():
            place = folder / part / name
            place.mkdir(parents=True, exist_ok=True)
            (place / sample.name).write_bytes(sample.read_bytes())
    return folder


def sample_answers(bundle: Bundle) -> list[list[str]]:
    """Return rows of cells, one for each label: each label holds once; then one is unknown."""
    count = len(bundle.class_names())
    rows = [["1" if i == row else "0" for i in range(count)] for row in range(count)]
    return [*rows, ["", *["0"] * (count - 1)]]


def _write_answers(bundle: Bundle, sample: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / sample.name).write_bytes(sample.read_bytes())
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *bundle.class_names()])
        writer.writerows([sample.name, *row] for row in sample_answers(bundle))


def _write_table(bundle: Bundle, table: dict[str, Any], folder: Path) -> None:
    cells: dict[str, dict[str, str]] = {}
    for name, columns in table.items():
        if columns is None:
            shape = bundle.inputs[name]["spatial_shape"]
            cells[name] = {
                name: _write_image(folder, name, shape, _bit_depth(_nodes(bundle, name)))
            }
        else:
            cells[name] = dict.fromkeys(columns, "1")
    header = ["case_id", *dict.fromkeys(column for found in cells.values() for column in found)]
    lacking = ["", *cells] if len(cells) > 1 and not _all_needed(bundle) else [""]
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        for number, missing in enumerate(lacking):
            row = {
                k: v for name, found in cells.items() if name != missing for k, v in found.items()
            }
            writer.writerow({"case_id": f"sample-{number}", **row})


def _write_image(folder: Path, name: str, shape: list[int], bits: int) -> str:
    """Write a ramp and return the name of its file."""
    import numpy as np

    ramp = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    if len(shape) == 3:
        import nibabel

        file = f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(ramp, np.eye(4)), folder / file)  # type: ignore[no-untyped-call]
    elif bits == 32:
        file = f"{name}.npy"
        np.save(folder / file, ramp)
    else:
        from PIL import Image

        file = f"{name}.png"
        kind = np.uint16 if bits == 16 else np.uint8
        Image.fromarray((ramp * np.iinfo(kind).max).astype(kind)).save(folder / file)
    return file


def _nodes(bundle: Bundle, name: str = "") -> list[Any]:
    """Return the preprocessing nodes of an input; of the only one if it has no name."""
    transforms: list[Any] = bundle.config("inference.json")["preprocessing"]["transforms"]
    if not name:
        return transforms
    return next(list(t["transforms"]) for t in transforms if t.get("keys") == name)


def _all_needed(bundle: Bundle) -> bool:
    """Return whether the bundle refuses a case that lacks an input."""
    return any(node.get("all_needed", False) for node in _nodes(bundle))


def _bit_depth(nodes: list[Any]) -> int:
    """Return the only bit depth that the reader takes; 8 if it takes any."""
    reader = nodes[0].get("reader")
    return int((reader.get("bits") if isinstance(reader, dict) else None) or 8)
