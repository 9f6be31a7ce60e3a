"""Which DICOM files of a class folder are one case together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medfuse.data.dicom.refusal import DicomError

PROJECTIONS = frozenset(("CR", "DX", "MG", "XA", "RF", "PX", "IO"))


def dicom_cases(
    class_folder: Path, files: Sequence[Path], kind: str
) -> tuple[list[Path], list[Path]]:
    """Return the cases among the DICOM files below a class folder, and the files left out.

    A case is a file, or a folder that holds one series. Of a ``volume`` it is the lowest folder
    with DICOM files; files of a folder above it are left out. Of an ``image`` it is each file.
    ``auto`` takes each file of projections (radiography, mammography, angiography, by the header
    of one file), each file that is alone in its folder or lies directly in the class folder, and
    else the folder.

    Args:
        class_folder: its direct files belong to no case folder.
        files: DICOM files somewhere below it.
        kind: ``auto``, ``image`` or ``volume``, as the input is configured.
    """
    if kind == "image" or (kind == "auto" and _is_projection(files[0])):
        return list(files), []
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    above = {upper for folder in folders for upper in folder.parents}
    cases, left_out = [], []
    for folder, found in folders.items():
        alone = kind == "auto" and (len(found) == 1 or folder == class_folder)
        if alone:
            cases += found
        elif folder in above:
            left_out += found
        else:
            cases.append(folder)
    return cases, left_out


def _is_projection(file: Path) -> bool:
    from medfuse.data.dicom.sandbox import shared_reader

    try:
        series = shared_reader().list(str(file)).series
    except DicomError:
        return False
    return bool(series) and series[0].modality in PROJECTIONS
