"""Read one 2D image out of a numpy file.

This file is copied into every bundle, so it imports numpy and its neighbor.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .data_image_facts import ImageFacts; from .data_image_facts import ImageFileError; from .data_image_facts import facts_of_array; from .data_image_facts import require_size

_ROOMY, _RATIO = 2**30, 50
_IN_MEMORY = 2**28  # bytes


def read_npy(file: IO[bytes], path: str) -> tuple[NDArray[Any], ImageFacts]:
    """Return the array of a ``.npy`` file, its length checked before it is read."""

    def check(shape: tuple[int, ...], _: np.dtype) -> None:
        require_size(path, math.prod(shape))

    return _from_array(load_npy(file, path, check), path)


def load_npy(
    file: IO[bytes], path: str, check: Callable[[tuple[int, ...], np.dtype], None]
) -> NDArray[Any]:
    """Return the array as stored; ``check(shape, dtype)`` may refuse it before it is read.

    Raises:
        ImageFileError: pickled objects, or the file is shorter than its header says.
    """
    shape, _, dtype = _header(file)
    if dtype.hasobject:
        raise ImageFileError("UNSUPPORTED", path, "holds pickled Python objects, expected numbers.")
    check(shape, dtype)
    if os.fstat(file.fileno()).st_size - file.tell() < math.prod(shape) * dtype.itemsize:
        raise ImageFileError("TRUNCATED", path, "ends before its last pixel. Copy it again.")
    file.seek(0)
    return np.asarray(np.load(file, allow_pickle=False))


def read_archive(path: str, inside: str) -> tuple[NDArray[Any], ImageFacts]:
    """Return one image of an array in a ``.npz`` archive; ``inside`` is ``KEY::INDEX``."""
    key, _, index = inside.partition("::")
    stack = archive_array(path, key)
    if not index.isdigit() or int(index) >= len(stack):
        raise ImageFileError("FILE_NOT_FOUND", path, f"{key} has {len(stack)} images, not {index}.")
    return _from_array(stack[int(index)], f"{path}::{inside}")


def archive_array(path: str, key: str) -> NDArray[Any]:
    """Return an array of a ``.npz`` archive; the last four are kept.

    One of more than 256 MB is unpacked to a temporary file, which nobody else can open and which
    goes with the process, and mapped: only what is looked at takes memory.
    """
    status = Path(path).stat()
    return _archive_array(path, key, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _archive_array(path: str, key: str, _changed: int, _size: int) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if f"{key}.npy" not in archive.zip.namelist():
                raise ImageFileError("FILE_NOT_FOUND", path, f"holds no array {key!r}.")
            info = archive.zip.getinfo(f"{key}.npy")
            _require_bounded(info, path, key)
            if info.file_size > _IN_MEMORY:
                return _mapped(archive.zip, info, path)
            return np.asarray(archive[key])
    except (zipfile.BadZipFile, AttributeError) as error:
        raise ImageFileError("TRUNCATED", path, "is no whole .npz archive.") from error


def _mapped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> NDArray[Any]:
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < info.file_size:
        raise ImageFileError(
            "TOO_LARGE",
            path,
            f"unpacks to {info.file_size} bytes, more than are free in {folder}. Make room, or "
            "set TMPDIR to a larger disk.",
        )
    with tempfile.TemporaryFile(dir=folder) as file, archive.open(info) as packed:
        shutil.copyfileobj(packed, file, 2**20)
        file.seek(0)
        shape, fortran, dtype = _header(file)
        if dtype.hasobject:
            raise ImageFileError("UNSUPPORTED", path, "holds pickled objects, expected numbers.")
        if info.file_size - file.tell() < math.prod(shape) * dtype.itemsize:
            raise ImageFileError("TRUNCATED", path, "ends before its last image. Copy it again.")
        order: Literal["C", "F"] = "F" if fortran else "C"
        return np.memmap(file, dtype, "r", file.tell(), shape, order)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, Fortran order and type of a ``.npy`` file, which is left at its data."""
    formats: Any = np.lib.format
    old = formats.read_magic(file) == (1, 0)
    read = formats.read_array_header_1_0 if old else formats.read_array_header_2_0
    found: tuple[tuple[int, ...], bool, np.dtype] = read(file)
    return found


def _require_bounded(info: zipfile.ZipInfo, path: str, key: str) -> None:
    """Refuse an array that unpacks to gigabytes out of nearly nothing.

    Masks and blank images may shrink by any ratio while they are small; the larger public
    archives of images shrink by less than 20.
    """
    if info.file_size > max(_ROOMY, _RATIO * info.compress_size):
        raise ImageFileError(
            "TOO_LARGE",
            path,
            f"{key} unpacks to {info.file_size} bytes, over {_RATIO} times its own size.",
        )


def _from_array(pixels: NDArray[Any], path: str) -> tuple[NDArray[Any], ImageFacts]:
    """Return rows and columns first, and a type that the rest of this file knows."""
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3) and pixels.shape[0] in (1, 3):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind not in "iuf":
        raise ImageFileError("UNSUPPORTED", path, f"holds {pixels.dtype}, expected numbers.")
    return pixels, facts_of_array(pixels, "NPY", [])
