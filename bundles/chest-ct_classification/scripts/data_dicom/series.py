"""The objects of one series: what they must share, and which files are copies of one another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from .dataset import integer, load, text, words
from .decode import PIXEL_TAGS, stored_pixels
from .frames import GEOMETRY_TAGS
from .padding import PADDING_TAGS
from .refusal import DicomError, refusal
from .values import VOI_TAGS

_VALUE_TAGS = (
    *(*PIXEL_TAGS, *GEOMETRY_TAGS, *VOI_TAGS, *PADDING_TAGS),
    *("PresentationLUTShape", "LossyImageCompression", "ImageType"),
)
HEADER_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "PatientID", "FrameOfReferenceUID"),
    *("Modality", "BurnedInAnnotation", "NumberOfSeriesRelatedInstances", *_VALUE_TAGS),
)
_SHARED = {
    "PatientID": "MIXED_PATIENT",
    "StudyInstanceUID": "MIXED_STUDY",
    "Modality": "MIXED_MODALITY",
    "FrameOfReferenceUID": "MIXED_FRAME_OF_REFERENCE",
}


@dataclass(frozen=True)
class Instance:
    """One object.

    Attributes:
        file: its file.
        header: without pixels.
        stamp: of the file when the header was read: number, size and time of its last change.
    """

    file: str
    header: Dataset
    stamp: tuple[int, ...] = ()


def load_series(files: Sequence[str]) -> list[Instance]:
    """Return the objects of a series, each once, in an order that file names do not change.

    Raises:
        DicomError: what they must share differs, or what must not be read is among them.
    """
    loaded = [Instance(stamp=_stamp(file), file=file, header=_header(file)) for file in files]
    for name, code in _SHARED.items():
        if len({text(found.header, name) for found in loaded}) > 1:
            raise refusal(code)
    instances = _once(loaded)
    for found in instances:
        _require_readable(found.header)
    return instances


def load_pixels(instance: Instance, tags: Sequence[str]) -> Dataset:
    """Return attributes of an object with its pixels, from the file that its header is from.

    Raises:
        DicomError: ``CHANGED``, or as `load`.
    """
    try:
        dataset = load(instance.file, tags, pixels=True)
    except DicomError:
        _require_unchanged(instance)
        raise
    _require_unchanged(instance)
    return dataset


def require_complete(instances: Sequence[Instance]) -> None:
    """Pass if no object says that its series has more objects.

    Raises:
        DicomError: ``INCOMPLETE_SERIES``.
    """
    counts = [integer(found.header, "NumberOfSeriesRelatedInstances", 0) for found in instances]
    if max(counts) > len(instances):
        raise refusal("INCOMPLETE_SERIES", f"{len(instances)} of {max(counts)} images")


def _header(file: str) -> Dataset:
    try:
        return load(file, HEADER_TAGS)
    except DicomError:
        _stamp(file)
        raise


def _stamp(file: str) -> tuple[int, ...]:
    try:
        status = Path(file).stat()
    except OSError:
        raise refusal("CHANGED", "a file vanished") from None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _require_unchanged(instance: Instance) -> None:
    if _stamp(instance.file) != instance.stamp:
        raise refusal("CHANGED")


def _require_readable(header: Dataset) -> None:
    if text(header, "BurnedInAnnotation").upper() == "YES":
        raise refusal("BURNED_IN_ANNOTATION")
    if "MOSAIC" in words(header, "ImageType"):
        raise refusal("MOSAIC")


def _once(loaded: Sequence[Instance]) -> list[Instance]:
    """Return one file of each SOPInstanceUID, sorted by it; at-least-once delivery makes copies."""
    kept: dict[str, Instance] = {}
    for found in loaded:
        first = kept.setdefault(text(found.header, "SOPInstanceUID"), found)
        if first is not found and not _is_copy(first, found):
            raise refusal("UID_CONFLICT")
    return [kept[uid] for uid in sorted(kept)]


def _is_copy(first: Instance, second: Instance) -> bool:
    if _digest(first.file) == _digest(second.file):
        return True
    if any(text(first.header, n) != text(second.header, n) for n in _VALUE_TAGS):
        return False
    one, other = (
        stored_pixels(load_pixels(i, ("PixelData", *HEADER_TAGS)))[0] for i in (first, second)
    )
    return bool(np.array_equal(one, other))


def _digest(file: str) -> bytes:
    try:
        return hashlib.sha256(Path(file).read_bytes()).digest()
    except OSError:
        raise refusal("CHANGED", "a file vanished") from None
