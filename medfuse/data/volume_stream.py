"""Voxels out of a stream of bytes, no more of it read than the header says.

This file is copied into every bundle, so it imports numpy and its neighbors.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from medfuse.data.image_facts import ImageFileError
from medfuse.data.volume_facts import Floats

_CHUNK = 2**20
_GZIP = b"\x1f\x8b"
_ZLIB_OR_GZIP = 47


@dataclass(frozen=True)
class Samples:
    """How voxels lie in a stream: the first axis fastest.

    Attributes:
        shape: of one volume.
        dtype: of a stored sample, with its byte order.
        offset: bytes from where the stream stands to the first voxel.
        slope: values are ``stored * slope + intercept``.
        intercept: see there.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    slope: float = 1.0
    intercept: float = 0.0


@contextmanager
def unpacked(path: str) -> Iterator[IO[bytes]]:
    """Give the bytes of a file, of a gzip file those inside; unpacked only as they are read.

    Raises:
        ImageFileError: inside, the stream ends early or is damaged.
    """
    with Path(path).open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with inflated(file, path) as stream:
            yield stream


@contextmanager
def inflated(file: IO[bytes], path: str) -> Iterator[IO[bytes]]:
    """Give the bytes inside the gzip stream at which ``file`` stands.

    Raises:
        ImageFileError: the stream ends early or is damaged.
    """
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            yield cast(IO[bytes], stream)
    except EOFError as error:
        raise truncated(path) from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise ImageFileError("CORRUPT", path, "is damaged gzip data. Copy it again.") from error


@contextmanager
def deflated(file: IO[bytes], path: str) -> Iterator[IO[bytes]]:
    """Give the bytes inside the zlib (or gzip) stream at which ``file`` stands.

    Raises:
        ImageFileError: the stream ends early or is damaged.
    """
    try:
        yield cast(IO[bytes], _Deflated(file))
    except EOFError as error:
        raise truncated(path) from error
    except zlib.error as error:
        raise ImageFileError("CORRUPT", path, "is damaged zlib data. Copy it again.") from error


class _Deflated:
    """Unpacks no more than it is asked for; the end of the stream checks its sum."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(_ZLIB_OR_GZIP)

    def read(self, count: int) -> bytes:
        """Return ``count`` bytes, or fewer at the end; raises ``EOFError`` where it is cut off."""
        found = bytearray()
        while len(found) < count and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
            more = self._inflate.decompress(packed, count - len(found))
            if not packed and not more:
                raise EOFError
            found += more
        return bytes(found)


def read_samples(stream: IO[bytes], samples: Samples, path: str) -> Floats:
    """Return the voxels ``(X, Y, Z)`` as float32, rescaled.

    Raises:
        ImageFileError: the stream ends before the last voxel.
    """
    _skip(stream, samples.offset, path)
    columns, rows, slices = samples.shape
    result = np.empty((slices, rows, columns), np.float32)
    count = math.prod(result.shape[1:]) * samples.dtype.itemsize
    for target in result:
        stored = np.frombuffer(_exactly(stream, count, path), samples.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            values = stored.reshape(rows, columns)
            if (samples.slope, samples.intercept) != (1.0, 0.0):
                values = values * np.float64(samples.slope) + np.float64(samples.intercept)
            target[...] = values
    return result.transpose(2, 1, 0)


def require_end(stream: IO[bytes], path: str) -> None:
    """Pass if little follows; reading to the end also makes gzip check its sum.

    Raises:
        ImageFileError: more than 1 MiB follows the last voxel.
    """
    if len(stream.read(_CHUNK)) == _CHUNK:
        raise ImageFileError("CORRUPT", path, "goes on behind its last voxel, by over 1 MiB.")


def truncated(path: str) -> ImageFileError:
    """Return the error for a file that ends too early."""
    return ImageFileError("TRUNCATED", path, "ends before its last voxel. Copy it again.")


def _skip(stream: IO[bytes], count: int, path: str) -> None:
    while count > 0:
        found = len(stream.read(min(count, _CHUNK)))
        if not found:
            raise truncated(path)
        count -= found


def _exactly(stream: IO[bytes], count: int, path: str) -> bytes:
    found = stream.read(count)
    if len(found) != count:
        raise truncated(path)
    return found
