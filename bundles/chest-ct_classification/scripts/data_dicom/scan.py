"""List the series at a path, from headers alone, and say what was left out and why."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from .dataset import integer, load, modality_of, text
from .facts import Listing, Series, Skipped
from .files import LeftOut, find_files, sort_files
from .kinds import is_volume, reason_to_skip
from .patient import patient_of
from .refusal import SKIPS, DicomError

__all__ = ["Listing", "Series", "Skipped", "list_files", "list_series", "series_key"]

_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType"),
    *("NumberOfFrames", "PatientID"),
)


@dataclass(frozen=True)
class _Instance:
    file: str
    uid: str
    modality: str
    volume: bool
    frames: int


def list_series(path: str) -> Listing:
    """Return the diagnostic series at a file or below a folder, sorted by key.

    Raises:
        DicomError: the path is absent, no file or folder, too large, or one file without DICM.
    """
    return _listing(*find_files(path), key=b"")


def list_files(files: Sequence[str], key: bytes) -> Listing:
    """Return the diagnostic series among some files, their patients as hashes by ``key``.

    What two patients call one series are two here. A file that is none is left out with its code.
    """
    return _listing(*sort_files(files), key=key)


def series_key(uid: str) -> str:
    """Return the short name of a series, which does not tell its UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:12]


def _listing(files: Sequence[str], left_out: LeftOut, key: bytes) -> Listing:
    skipped = defaultdict(list, left_out)
    groups: dict[tuple[str, str], list[_Instance]] = defaultdict(list)
    for file in files:
        whose, found = _instance(file, key)
        if isinstance(found, str):
            skipped[found].append(file)
        else:
            groups[whose].append(found)
    made = (_series(uid, patient, group) for (uid, patient), group in groups.items())
    for group in groups.values():
        copies = _copies(group)
        if copies:
            skipped["DUPLICATE"] += copies
    return Listing(tuple(sorted(made, key=lambda s: (s.key, s.patient))), _as_skipped(skipped))


def _instance(file: str, key: bytes) -> tuple[tuple[str, str], _Instance | str]:
    """Return series and patient, and the instance or the code of why the file is left out."""
    nobody = ("", "")
    try:
        dataset = load(file, _TAGS)
        code = reason_to_skip(dataset)
        if code:
            return nobody, code
        series, uid = text(dataset, "SeriesInstanceUID"), text(dataset, "SOPInstanceUID")
        if not series or not uid:
            return nobody, "MISSING_UID"
        patient = patient_of(dataset, key) if key else ""
        found = _Instance(file, uid, modality_of(dataset), is_volume(dataset), _frames(dataset))
    except DicomError as error:
        return nobody, error.code if error.code in SKIPS else "DAMAGED"
    return (series, patient), found


def _frames(dataset: Dataset) -> int:
    try:
        return integer(dataset, "NumberOfFrames", 1)
    except DicomError:  # reading the series says so, and may not miss one of its slices
        return 1


def _series(uid: str, patient: str, group: Sequence[_Instance]) -> Series:
    return Series(
        key=series_key(uid),
        modality=min(found.modality for found in group),
        files=tuple(found.file for found in group),
        count=len({found.uid for found in group}),
        volume=any(found.volume for found in group),
        frames=max(found.frames for found in group),
        patient=patient,
    )


def _copies(group: Sequence[_Instance]) -> list[str]:
    """Return the further files of instances that are there already."""
    seen: set[str] = set()
    copies = []
    for found in group:
        if found.uid in seen:
            copies.append(found.file)
        seen.add(found.uid)
    return copies


def _as_skipped(skipped: Mapping[str, Sequence[str]]) -> tuple[Skipped, ...]:
    return tuple(
        Skipped(code, len(files), SKIPS[code], tuple(files))
        for code, files in sorted(skipped.items())
    )
