"""Read a NIfTI volume.

This file is copied into every bundle, so it imports numpy, nibabel and its neighbors.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

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
from medfuse.data.volume_stream import Samples, read_samples, require_end, truncated, unpacked

_UNITS = {"meter": 1000.0, "micron": 0.001}


def is_nifti(head: bytes) -> bool:
    """Return whether the first 348 unpacked bytes are those of a NIfTI file, of either version."""
    one = head[344:348] in (b"n+1\0", b"ni1\0")
    return one or head[4:8] in (b"n+2\0", b"ni2\0")


def nifti_header(path: str, index: str = "") -> VolumeHeader:
    """Return what the header says; no voxel is read."""
    with unpacked(path) as stream:
        return _described(stream, path, index)[0]


def read_nifti(path: str, index: str = "") -> Volume:
    """Return the volume, its axes as they are stored.

    ``scl_slope`` and ``scl_inter`` are applied. The affine is the sform where it has a code, else
    the qform; where both have one and disagree the event ``QFORM_SFORM_DIFFER`` says so. Units
    other than mm are converted.

    Args:
        path: ``.nii`` or ``.nii.gz``, of version 1 or 2, decided by content.
        index: of the volume in a 4D file; empty for the only one.

    Raises:
        ImageFileError: ``FOUR_D`` where a 4D file comes without index; colors, complex numbers,
            two-file NIfTI; truncated, damaged or too large.
    """
    with unpacked(path) as stream:
        header, samples = _described(stream, path, index)
        pixels = read_samples(stream, samples, path)
        if not index:
            require_end(stream, path)
    return Volume(require_finite(pixels, path), header)


def _described(stream: IO[bytes], path: str, index: str) -> tuple[VolumeHeader, Samples]:
    """Return what the header says and where the voxels are, counted from behind the header."""
    raw, length = _raw_header(stream, path)
    shape, place = _shape(raw, path, index)
    dtype = _dtype(raw, path)
    require_volume_size(path, raw.get_data_shape(), dtype.itemsize, Path(path).stat().st_size)
    slope, intercept = _scaling(raw, path)
    events: list[tuple[str, str]] = []
    affine = require_affine(_affine(raw, path, events), path)
    plain = (slope, intercept) == (1.0, 0.0)
    volume = math.prod(shape) * dtype.itemsize
    offset = _offset(raw, path) - length + place * volume
    header = VolumeHeader(
        shape,
        affine,
        bits=dtype.itemsize * 8 if plain and dtype.kind in "iu" and dtype.itemsize < 4 else 32,
        limits=limits_of(dtype) if plain else None,
        events=tuple(events),
    )
    return header, Samples(shape, dtype, offset, slope, intercept)


def _raw_header(stream: IO[bytes], path: str) -> tuple[Any, int]:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    start = stream.read(348)
    if len(start) < 348:
        raise truncated(path)
    two = start[4:8] in (b"n+2\0", b"ni2\0")
    block = start + (stream.read(192) if two else b"")
    if (start[4:8] if two else start[344:348])[:2] == b"ni":
        raise ImageFileError(
            "UNSUPPORTED", path, "is the header of a two-file NIfTI, expected .nii or .nii.gz."
        )
    kind: Any = Nifti2Header if two else Nifti1Header
    try:
        return kind(block, check=False), len(block)
    except Exception as error:  # nibabel documents none
        raise ImageFileError("CORRUPT", path, "has no NIfTI header that can be read.") from error


def _shape(raw: Any, path: str, index: str) -> tuple[tuple[int, int, int], int]:
    sides = tuple(int(side) for side in raw.get_data_shape())
    if not 2 <= len(sides) <= 7 or any(side < 1 for side in sides):
        raise ImageFileError("CORRUPT", path, f"has shape {sides}, expected (X, Y, Z).")
    if any(side != 1 for side in sides[4:]):
        raise ImageFileError("UNSUPPORTED_SHAPE", path, f"has shape {sides}, expected (X, Y, Z).")
    x, y, z, volumes = (*sides, 1, 1)[:4]
    if index and not (index.isdigit() and int(index) < volumes):
        raise ImageFileError("FILE_NOT_FOUND", path, f"has {volumes} volumes, not {index}.")
    if volumes > 1 and not index:
        raise ImageFileError(
            "FOUR_D", path, f"holds {volumes} volumes, expected one. Name it: FILE::0."
        )
    return (x, y, z), int(index or 0)


def _dtype(raw: Any, path: str) -> np.dtype:
    try:
        dtype: np.dtype = np.dtype(raw.get_data_dtype())
    except Exception as error:
        raise ImageFileError("CORRUPT", path, "has an unknown NIfTI datatype.") from error
    if dtype.kind not in "iuf" or dtype.itemsize not in (1, 2, 4, 8):
        name = "colors" if dtype.names else str(dtype)
        raise ImageFileError("UNSUPPORTED", path, f"holds {name}, expected one number a voxel.")
    return dtype


def _scaling(raw: Any, path: str) -> tuple[float, float]:
    try:
        slope, intercept = raw.get_slope_inter()
    except Exception as error:
        raise ImageFileError("CORRUPT", path, "has a scl_inter that is no number.") from error
    return float(1.0 if slope is None else slope), float(intercept or 0.0)


def _offset(raw: Any, path: str) -> int:
    offset = float(raw["vox_offset"])
    least = 352 if raw.sizeof_hdr == 348 else 544
    if not math.isfinite(offset) or offset > 2**30 or offset < 0:
        raise ImageFileError("CORRUPT", path, "has a vox_offset that cannot be.")
    return max(int(offset), least)


def _affine(raw: Any, path: str, events: list[tuple[str, str]]) -> Affine:
    try:
        qform, qcode = raw.get_qform(coded=True)
        sform, scode = raw.get_sform(coded=True)
        best = np.asarray(raw.get_best_affine(), np.float64)
    except Exception as error:
        raise ImageFileError("NO_GEOMETRY", path, "has a qform that cannot be.") from error
    if not (qcode or scode):
        events.append(("GEOMETRY_ASSUMED", "neither qform nor sform has a code"))
    if qcode and scode and not _agree(qform, sform, raw.get_data_shape()[:3]):
        events.append(("QFORM_SFORM_DIFFER", "the sform was taken"))
    unit = _UNITS.get(raw.get_xyzt_units()[0], 1.0)
    if unit != 1.0:
        events.append(("UNITS_CONVERTED", f"{raw.get_xyzt_units()[0]} to mm"))
    return np.diag([unit, unit, unit, 1.0]) @ best


def _agree(one: Affine, other: Affine, shape: tuple[int, ...]) -> bool:
    """Return whether two affines put all corners at the same place, to a tenth of a mm."""
    sides = np.array([*shape, 1, 1][:3], float) - 1
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * sides
    places = np.c_[corners, np.ones(8)]
    return bool(np.abs(places @ (one - other).T).max() < 0.1)
