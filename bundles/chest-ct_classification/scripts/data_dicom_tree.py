"""The DICOM series in a tree of folders, each with the reference that reads it.

What counts is the content of every file, never its name or its place: series that are spread over
folders are one, localizers and summary pages are none. This file is copied into every bundle, so
it imports its neighbors and the standard library.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from .data_dicom.facts import Listing; from .data_dicom.facts import Series; from .data_dicom.facts import Skipped
from .data_dicom.refusal import SKIPS; from .data_dicom.refusal import DicomError
from .data_dicom.sandbox import shared_reader

_PREAMBLE = 128
_NAMES = (".dcm", ".dicom", ".ima")
_AT_ONCE = 256
_WORKERS = 2
_OTHER_OBJECTS = ("DICOMDIR", "DUPLICATE", "LOCALIZER", "NOT_AN_IMAGE", "SECONDARY_CAPTURE")
_NO_DICOM = ("NOT_DICOM", "NOT_REGULAR")

LEFT_OUT = MappingProxyType(
    {
        **{code: SKIPS[code] for code in _OTHER_OBJECTS},
        "NOT_SLICES": "a projection or photograph, where volumes are read",
        "OTHER_MODALITY": "a series of another modality than the input's",
    }
)


@dataclass(frozen=True)
class TreeSeries:
    """One diagnostic series.

    Attributes:
        reference: what reads it: the lowest folder that holds all of it, with ``::KEY`` where
            that folder holds another one too, or its only file where that has several frames.
        key: names it among others of a folder.
        files: all its files, sorted.
        modality: DICOM Modality: ``CT``, ``MR``, ``DX``, ...; empty where it is no code.
        volume: it holds slices, not projections or photographs.
        patient: keyed hash of its PatientID; empty where there is none.
    """

    reference: str
    key: str
    files: tuple[str, ...]
    modality: str
    volume: bool
    patient: str = ""


@dataclass(frozen=True)
class DicomTree:
    """What DICOM files hold.

    Attributes:
        series: sorted by reference.
        others: ``(file, code)`` of what is no diagnostic image: localizers, summary pages,
            reports, directories of media.
        faults: ``(file, code)`` of what may be an image, but cannot be read.
    """

    series: tuple[TreeSeries, ...]
    others: tuple[tuple[str, str], ...] = ()
    faults: tuple[tuple[str, str], ...] = ()


def is_dicom_file(path: Path) -> bool:
    """Return whether a file is DICOM by its content or its name; what is no file is not opened."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        if path.suffix.lower() in _NAMES:
            return True
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except (OSError, ValueError):
        return False


def list_tree(files: Sequence[str], key: bytes = b"") -> DicomTree:
    """Return the series among DICOM files, read from their headers in a process with limits.

    Args:
        files: as `is_dicom_file` finds them.
        key: for the hashes of patients; without one they hold for this call alone.
    """
    secret = key or secrets.token_bytes(32)
    parts = [files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE)]
    with ThreadPoolExecutor(_WORKERS) as pool:
        found = list(chain.from_iterable(pool.map(lambda part: _listed(part, secret), parts)))
    skipped = [(file, s.code) for listing in found for s in listing.skipped for file in s.files]
    return DicomTree(
        tuple(_with_references(_merged(found))),
        tuple(sorted(item for item in skipped if item[1] in _OTHER_OBJECTS)),
        tuple(sorted(i for i in skipped if i[1] not in (*_OTHER_OBJECTS, *_NO_DICOM))),
    )


def reason_to_leave_out(series: TreeSeries, kind: str, modality: str) -> str:
    """Return the code of `LEFT_OUT` by which a series is no case of an input; mostly empty.

    A network answers whatever it is shown: an MR that is taken for a CT gets a probability too.

    Args:
        series: of a tree.
        kind: of the input: ``volume`` leaves out what is no slices.
        modality: of the input: ``CT`` and ``MR`` leave out all others, ``XR`` all slices.
    """
    stranger = modality in ("CT", "MR") and series.modality not in ("", modality)
    if stranger or (modality == "XR" and series.volume):
        return "OTHER_MODALITY"
    return "NOT_SLICES" if kind == "volume" and not series.volume else ""


def faulty_cases(tree: DicomTree) -> dict[str, str]:
    """Return the code of each file or folder that is to be read, and so refused by its name.

    A folder stands for its files where nothing below it can be read. A file beside the files of a
    series is no case: it is counted when the series is read.
    """
    parents = {Path(file).parent for series in tree.series for file in series.files}
    above = {upper for parent in parents for upper in (parent, *parent.parents)}
    cases: dict[str, str] = {}
    for file, code in tree.faults:
        parent = Path(file).parent
        if parent not in parents:
            cases.setdefault(file if parent in above else str(parent), code)
    return cases


def _listed(files: Sequence[str], key: bytes) -> list[Listing]:
    """Return what some files hold; where one of them ends the process, each by itself."""
    try:
        return [shared_reader().list_files(files, key)]
    except DicomError as error:
        if len(files) == 1:
            return [Listing((), (Skipped(error.code, 1, str(error), tuple(files)),))]
    return [listing for file in files for listing in _listed([file], key)]


def _merged(listings: Sequence[Listing]) -> list[Series]:
    """Return the series whose files were listed in several parts as one."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for series in (found for listing in listings for found in listing.series):
        groups.setdefault((series.key, series.patient), []).append(series)
    return [
        Series(
            key=key,
            modality=min(part.modality for part in parts),
            files=tuple(sorted(file for part in parts for file in part.files)),
            count=sum(part.count for part in parts),
            volume=any(part.volume for part in parts),
            frames=max(part.frames for part in parts),
            patient=patient,
        )
        for (key, patient), parts in groups.items()
    ]


def _with_references(several: Sequence[Series]) -> Iterator[TreeSeries]:
    inside: Counter[Path] = Counter()
    for series in several:
        parents = {Path(file).parent for file in series.files}
        inside.update({upper for parent in parents for upper in (parent, *parent.parents)})
    named = [(_reference(series, inside), series) for series in several]
    for reference, found in sorted(named, key=lambda pair: (pair[0], pair[1].patient)):
        what = (found.files, found.modality, found.volume)
        yield TreeSeries(reference, found.key, *what, patient=found.patient)


def _reference(series: Series, inside: Counter[Path]) -> str:
    folder = Path(os.path.commonpath([Path(file).parent for file in series.files]))
    if inside[folder] == 1:
        return str(folder)
    if len(series.files) == 1 and series.frames > 1:
        return series.files[0]
    return f"{folder}::{series.key}"
