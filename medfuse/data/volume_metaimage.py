"""Read a MetaImage volume: one file (``.mha``), or a header beside its voxels (``.mhd``).

The header is text, so no package is needed: https://itk.org/Wiki/ITK/MetaIO/Documentation. This
file is copied into every bundle, so it imports numpy and its neighbors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from medfuse.data.image_facts import ImageFileError, require_regular_file
from medfuse.data.volume_facts import (
    Affine,
    Volume,
    VolumeHeader,
    limits_of,
    require_affine,
    require_finite,
    require_volume_size,
)
from medfuse.data.volume_stream import Samples, deflated, read_samples, require_end

HEADER_ENDING = ".mhd"
METAIMAGE_ENDINGS = (".mha", HEADER_ENDING)
_LINE, _LINES = 65536, 1000
_FIRST = re.compile(rb"(ObjectType|ObjectSubType|NDims|Comment|Name|ID)\s*=")
_LOCAL = "LOCAL"
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}
_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_ORIGIN = ("Offset", "Position", "Origin")
_SPACING = ("ElementSpacing", "ElementSize")
_SCALES = {"ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "0"}


class _Described(NamedTuple):
    """A file as its header describes it, and where its voxels are."""

    header: VolumeHeader
    samples: Samples
    data: str
    start: int
    packed: bool


def is_metaimage(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a MetaImage header."""
    return _FIRST.match(head) is not None


def metaimage_header(path: str) -> VolumeHeader:
    """Return what the header says; no voxel is read."""
    return _described(path).header


def metaimage_data_file(path: str) -> str:
    """Return the file that holds the voxels, ``path`` itself where it is one file.

    Raises:
        ImageFileError: the header has no end, or names a file in another folder.
    """
    with Path(path).open("rb") as file:
        return _data_file(_fields(file, path), path)


def read_metaimage(path: str) -> Volume:
    """Return the volume, its axes as they are stored, turned from LPS to RAS.

    Raises:
        ImageFileError: not three axes of numbers, no spacing, text or several files of voxels, a
            file of voxels in another folder; truncated, damaged or too large.
    """
    found = _described(path)
    with _voxels(found) as stream:
        pixels = read_samples(stream, found.samples, found.data)
        require_end(stream, found.data)
    return Volume(require_finite(pixels, path), found.header)


@contextmanager
def _voxels(found: _Described) -> Iterator[IO[bytes]]:
    """Give the bytes behind the header of the file; unpacked only as they are read."""
    with Path(found.data).open("rb") as file:
        file.seek(found.start)
        if not found.packed:
            yield file
            return
        with deflated(file, found.data) as stream:
            yield stream


def _described(path: str) -> _Described:
    with Path(path).open("rb") as file:
        fields, end = _fields(file, path), file.tell()
    _refuse_variants(fields, path)
    shape, dtype = _sides(fields, path), _dtype(fields, path)
    data = _data_file(fields, path)
    require_regular_file(data)
    stored = Path(data).stat().st_size
    require_volume_size(path, shape, dtype.itemsize, stored)
    affine, events = _affine(fields, path)
    bits = dtype.itemsize * 8 if dtype.kind in "iu" and dtype.itemsize < 4 else 32
    modality = _MODALITIES.get(fields.get("Modality", ""), "")
    header = VolumeHeader(
        shape, require_affine(affine, path), modality, bits, limits_of(dtype), events
    )
    packed = _is_true(fields, "CompressedData")
    start = end if data == path else _skipped(fields, path)
    if start < 0 and not packed:
        start = stored - math.prod(shape) * dtype.itemsize
    return _Described(header, Samples(shape, dtype, 0), data, max(start, 0), packed)


def _fields(file: IO[bytes], path: str) -> dict[str, str]:
    """Return the fields; the file then stands behind the header."""
    fields: dict[str, str] = {}
    for _ in range(_LINES):
        key, equals, value = file.readline(_LINE).decode("ascii", "replace").partition("=")
        if not equals:
            break
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields
    raise ImageFileError("CORRUPT", path, "has a MetaImage header without ElementDataFile.")


def _refuse_variants(fields: dict[str, str], path: str) -> None:
    if fields.get("ObjectType", "Image") != "Image":
        kind = fields["ObjectType"][:20]
        raise ImageFileError("UNSUPPORTED", path, f"is a MetaIO {kind}, expected an Image.")
    if not _is_true(fields, "BinaryData", otherwise=True):
        raise ImageFileError("UNSUPPORTED", path, "holds its voxels as text, expected binary data.")
    channels = fields.get("ElementNumberOfChannels", "1")
    if channels != "1":
        raise ImageFileError("UNSUPPORTED", path, f"has {channels[:9]} channels, expected one.")
    if any(_numbers(fields.get(key, one)) != [float(one)] for key, one in _SCALES.items()):
        raise ImageFileError(
            "UNSUPPORTED", path, "has a slope or offset, which readers apply differently."
        )


def _sides(fields: dict[str, str], path: str) -> tuple[int, int, int]:
    sides = [int(word) for word in fields.get("DimSize", "").split() if word.isdigit()]
    if len(sides) != 3 or fields.get("NDims") != "3":
        code = "FOUR_D" if len(sides) == 4 else "UNSUPPORTED_SHAPE"
        raise ImageFileError(code, path, f"has {len(sides)} axes, expected three.")
    return sides[0], sides[1], sides[2]


def _dtype(fields: dict[str, str], path: str) -> np.dtype:
    name = fields.get("ElementType", "")
    if name not in _TYPES:
        raise ImageFileError("UNSUPPORTED", path, f"holds {name[:30]}, expected plain numbers.")
    big = _is_true(fields, "BinaryDataByteOrderMSB") or _is_true(fields, "ElementByteOrderMSB")
    return np.dtype(_TYPES[name]).newbyteorder(">" if big else "<")


def _data_file(fields: dict[str, str], path: str) -> str:
    name = fields["ElementDataFile"]
    if name == _LOCAL:
        return path
    if name.split()[0:1] == ["LIST"] or "%" in name:
        raise ImageFileError("UNSUPPORTED", path, "has its voxels in several files, expected one.")
    if not name or name in (".", "..") or re.search(r"[/\\\0]|^[A-Za-z]:", name):
        raise ImageFileError(
            "UNSUPPORTED", path, "names a file of voxels that is not beside it. Put both together."
        )
    return str(Path(path).with_name(name))


def _skipped(fields: dict[str, str], path: str) -> int:
    """Return how many bytes of the file of voxels are a header; -1 for all but the voxels."""
    text = fields.get("HeaderSize", "0")
    if not re.fullmatch(r"-1|\d{1,10}", text):
        raise ImageFileError("CORRUPT", path, f"has HeaderSize {text[:20]}, expected a number.")
    return int(text)


def _affine(fields: dict[str, str], path: str) -> tuple[Affine, tuple[tuple[str, str], ...]]:
    """Return the affine in RAS+ mm, and what was assumed; rows of the matrix are the axes."""
    spacing = _numbers(_first(fields, _SPACING, ""))
    origin = _numbers(_first(fields, _ORIGIN, "0 0 0"))
    matrix = _numbers(_first(fields, _MATRIX, "1 0 0 0 1 0 0 0 1"))
    if [len(spacing), len(origin), len(matrix)] != [3, 3, 9] or min(spacing) <= 0:
        raise ImageFileError("NO_GEOMETRY", path, "says no spacing in mm, expected ElementSpacing.")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(matrix, (3, 3)).T * spacing
    affine[:3, 3] = origin
    known = any(key in fields for key in _MATRIX)
    events = () if known else (("GEOMETRY_ASSUMED", "no TransformMatrix: axes taken for L, P, S"),)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, events


def _first(fields: dict[str, str], names: tuple[str, ...], otherwise: str) -> str:
    return next((fields[name] for name in names if name in fields), otherwise)


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return []


def _is_true(fields: dict[str, str], key: str, otherwise: bool = False) -> bool:
    return fields.get(key, str(otherwise)).lower() in ("true", "1")
