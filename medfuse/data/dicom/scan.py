"""List the series at a path, from headers alone, and say what was left out and why."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass

from .dataset import load, modality_of, text
from .facts import Listing, Series, Skipped
from .files import find_files
from .kinds import reason_to_skip
from .refusal import SKIPS, DicomError

__all__ = ["Listing", "Series", "Skipped", "list_series", "series_key"]

_TAGS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType")


@dataclass(frozen=True)
class _Instance:
    file: str
    uid: str
    modality: str


def list_series(path: str) -> Listing:
    """Return the diagnostic series at a file or below a folder, sorted by key.

    Raises:
        DicomError: the path is absent, no file or folder, too large, or one file without DICM.
    """
    files, skipped = find_files(path)
    groups: dict[str, list[_Instance]] = defaultdict(list)
    for file in files:
        uid, found = _instance(file)
        if isinstance(found, str):
            skipped[found] += 1
        else:
            groups[uid].append(found)
    series = sorted((_series(name, group) for name, group in groups.items()), key=lambda s: s.key)
    copies = sum(len(s.files) - s.count for s in series)
    if copies:
        skipped["DUPLICATE"] += copies
    return Listing(tuple(series), _as_skipped(skipped))


def series_key(uid: str) -> str:
    """Return the short name of a series, which does not tell its UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:12]


def _instance(file: str) -> tuple[str, _Instance | str]:
    """Return series and instance, or the code of why the file is left out."""
    try:
        dataset = load(file, _TAGS)
        code = reason_to_skip(dataset)
        if code:
            return "", code
        series, uid = text(dataset, "SeriesInstanceUID"), text(dataset, "SOPInstanceUID")
        if not series or not uid:
            return "", "MISSING_UID"
        return series, _Instance(file, uid, modality_of(dataset))
    except DicomError as error:
        return "", error.code if error.code in SKIPS else "DAMAGED"


def _series(uid: str, group: list[_Instance]) -> Series:
    modality = min(found.modality for found in group)
    count = len({found.uid for found in group})
    return Series(series_key(uid), modality, tuple(found.file for found in group), count)


def _as_skipped(skipped: Counter[str]) -> tuple[Skipped, ...]:
    return tuple(Skipped(code, skipped[code], SKIPS[code]) for code in sorted(skipped))
