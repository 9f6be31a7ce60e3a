"""Generated heads as DICOM series, and a cohort of heads in two formats."""

from __future__ import annotations

import csv
import shutil
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np

from medfuse.workflows.phantom_volumes import CLASSES, HeadVolume, head_volume, write_nifti

ROLES = ("train", "train", "train", "train", "validation", "test")


def write_dicom(head: HeadVolume, folder: Path, synthetic: ModuleType) -> Path:
    """Write a head as CT slices along its third axis; the file names tell no order."""
    place = np.diag([-1.0, -1, 1, 1]) @ head.affine
    steps = np.linalg.norm(place[:3, :3], axis=0)
    axes = place[:3, :3] / steps
    own = zlib.crc32(folder.name.encode())

    def change(dataset: object, number: int) -> None:
        dataset.SeriesInstanceUID += f".{own}"
        dataset.SOPInstanceUID += f".{own}"
        synthetic.set_pixels(dataset, np.ascontiguousarray(head.pixels[..., number].T))
        dataset.RescaleIntercept = 0
        dataset.ImageOrientationPatient = [round(float(x), 10) for x in axes[:, :2].T.ravel()]
        position = place @ [0, 0, number, 1]
        dataset.ImagePositionPatient = [round(float(x), 8) for x in position[:3]]
        dataset.PixelSpacing = [round(float(x), 10) for x in (steps[1], steps[0])]
        dataset.SliceThickness = round(float(steps[2]), 6)
        dataset.InstanceNumber = number * 7 % 101

    return synthetic.write_series(folder, head.pixels.shape[2], change)


def write_heads(folder: Path, synthetic: ModuleType, vendor: Path | None = None) -> Path:
    """Write heads as NIfTI and, one in three, as DICOM; return the table of the cohort.

    Args:
        folder: for the files and ``cases.csv``.
        synthetic: maker of DICOM files.
        vendor: where the series of vendors are; they are cases as well.
    """
    rows = []
    for label, name in enumerate(CLASSES):
        for number, role in enumerate(2 * ROLES):
            head = head_volume(bool(label), np.random.default_rng([label, number]))
            case = f"{name}-{number:02d}"
            if number % 3 == 2:
                write_dicom(head, folder / "scans" / case, synthetic)
            else:
                (folder / "scans").mkdir(parents=True, exist_ok=True)
                write_nifti(head, folder / "scans" / f"{case}.nii.gz")
            suffix = "" if number % 3 == 2 else ".nii.gz"
            rows.append([case, name, case, role, f"scans/{case}{suffix}"])
    rows += [] if vendor is None else _vendor_rows(vendor, folder / "scans")
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case_id", "label", "patient_id", "role", "image"])
        writer.writerows(rows)
    return folder / "cases.csv"


def _vendor_rows(vendor: Path, scans: Path) -> list[list[str]]:
    """Return the Philips study to learn from, and a tilted stack of GE to be tested on."""
    shutil.copytree(vendor / "ct_head_philips", scans / "philips")
    (scans / "ge").mkdir()
    for number in range(1, 15):
        shutil.copy(vendor / "ct_head_ge_tilted" / f"{number:02d}.dcm", scans / "ge")
    return [
        ["philips", CLASSES[0], "philips", "train", "scans/philips"],
        ["ge", CLASSES[0], "ge", "test", "scans/ge"],
    ]
