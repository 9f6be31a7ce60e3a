"""Read an NRRD volume of one file.

The header is text, so no package is needed: https://teem.sourceforge.net/nrrd/format.html. This
file is copied into every bundle, so it imports numpy and its neighbors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO

import numpy as np

from medfuse.data.image_facts import ImageFileError
from medfuse.data.volume_facts import (
    Affine,
    Volume,
    VolumeHeader,
    limits_of,
    require_affine,
    require_finite,
    require_volume_size,
)
from medfuse.data.volume_stream import Samples, inflated, read_samples

_SKIPS = ("line skip", "lineskip", "byte skip", "byteskip")
_DIRECTIONS = "space directions"
_LINE, _LINES = 65536, 10_000
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_SIGNS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "ras": (1, 1, 1),
    "las": (-1, 1, 1),
    "lps": (-1, -1, 1),
}


def nrrd_header(path: str) -> VolumeHeader:
    """Return what the header says; no voxel is read."""
    with Path(path).open("rb") as file:
        return _described(file, path)[0]


def read_nrrd(path: str) -> Volume:
    """Return the volume, its axes as they are stored.

    Raises:
        ImageFileError: not three axes of numbers, no directions in space, voxels in another file,
            an encoding other than raw and gzip; truncated, damaged or too large.
    """
    with Path(path).open("rb") as file:
        header, samples, packed = _described(file, path)
        if packed:
            with inflated(file, path) as stream:
                pixels = read_samples(stream, samples, path)
        else:
            pixels = read_samples(file, samples, path)
    return Volume(require_finite(pixels, path), header)


def _described(file: IO[bytes], path: str) -> tuple[VolumeHeader, Samples, bool]:
    fields = _fields(file, path)
    shape = _sides(fields, path)
    dtype = _dtype(fields, path)
    require_volume_size(path, shape, dtype.itemsize, Path(path).stat().st_size)
    packed = _encoding(fields, path)
    affine = require_affine(_affine(fields, path), path)
    bits = dtype.itemsize * 8 if dtype.kind in "iu" and dtype.itemsize < 4 else 32
    header = VolumeHeader(shape, affine, bits=bits, limits=limits_of(dtype))
    return header, Samples(shape, dtype, 0), packed


def _fields(file: IO[bytes], path: str) -> dict[str, str]:
    """Return the fields in lower case; the file then stands at the first voxel."""
    fields: dict[str, str] = {}
    file.readline(_LINE)
    for _ in range(_LINES):
        line = file.readline(_LINE)
        text = line.decode("ascii", "replace").strip()
        if not text and line.endswith(b"\n"):
            return fields
        key, colon, value = text.partition(":")
        if colon and not text.startswith("#") and not value.startswith("="):
            fields[key.strip().lower()] = value.strip()
    raise ImageFileError("CORRUPT", path, "has an NRRD header without end.")


def _sides(fields: dict[str, str], path: str) -> tuple[int, int, int]:
    sides = [int(word) for word in fields.get("sizes", "").split() if word.isdigit()]
    if len(sides) != 3 or fields.get("dimension") != "3":
        code = "FOUR_D" if len(sides) == 4 else "UNSUPPORTED_SHAPE"
        raise ImageFileError(code, path, f"has {len(sides)} axes, expected three.")
    return sides[0], sides[1], sides[2]


def _dtype(fields: dict[str, str], path: str) -> np.dtype:
    name = " ".join(fields.get("type", "").lower().split())
    code = next((code for code, names in _TYPES.items() if name in names), None)
    if code is None:
        raise ImageFileError("UNSUPPORTED", path, f"holds {name[:30]}, expected plain numbers.")
    return np.dtype(code).newbyteorder(">" if fields.get("endian", "").lower() == "big" else "<")


def _encoding(fields: dict[str, str], path: str) -> bool:
    """Return whether the voxels are packed with gzip."""
    if {"data file", "datafile"} & set(fields):
        raise ImageFileError("UNSUPPORTED", path, "has its voxels in another file, expected one.")
    if any(fields.get(key, "0") != "0" for key in _SKIPS):
        raise ImageFileError("UNSUPPORTED", path, "skips lines or bytes, expected voxels at once.")
    encoding = fields.get("encoding", "raw").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise ImageFileError("UNSUPPORTED", path, f"is encoded as {encoding[:20]}, expected gzip.")
    return encoding != "raw"


def _affine(fields: dict[str, str], path: str) -> Affine:
    signs = _SIGNS.get(fields.get("space", "").lower())
    vectors = [_vector(text) for text in re.findall(r"\(([^()]*)\)", fields.get(_DIRECTIONS, ""))]
    origin = _vector(fields.get("space origin", "(0,0,0)").strip("() "))
    if signs is None or [len(vector) for vector in (*vectors, origin)] != [3, 3, 3, 3]:
        raise ImageFileError("NO_GEOMETRY", path, "says no directions in space, expected LPS.")
    affine = np.eye(4)
    affine[:3, :3] = np.array(vectors).T
    affine[:3, 3] = origin
    return np.diag([*signs, 1.0]) @ affine


def _vector(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        return []
