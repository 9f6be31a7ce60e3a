"""Parse one DICOM file: chosen attributes only, nothing unbounded, no warning that quotes one."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from .refusal import DicomError, refusal

DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT = "1.2.840.10008.1.2.1"
MAX_INFLATED = 256 << 20
MAX_INFLATED_HEADER = 16 << 20
_LONG_FORM = (b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT")
_SHORT_ENOUGH = 1 << 16


def load(path: str, tags: Sequence[str], pixels: bool = False) -> Dataset:
    """Return the attributes ``tags`` of a file; without ``pixels`` its pixels are not read.

    Raises:
        DicomError: ``UNREADABLE``, ``NOT_DICOM``, ``TRUNCATED``, ``TOO_LARGE``, ``DAMAGED`` or
            ``DEFLATE_BOMB``.
    """
    try:
        with Path(path).open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(
                _inflated(file, pixels), stop_before_pixels=not pixels, specific_tags=list(tags)
            )
    except DicomError:
        raise
    except MemoryError:
        raise refusal("TOO_LARGE", "a value does not fit into memory") from None
    except PermissionError:
        raise refusal("UNREADABLE") from None
    except InvalidDicomError:
        raise refusal("NOT_DICOM") from None
    except EOFError:
        raise refusal("TRUNCATED") from None
    except Exception as error:  # noqa: BLE001 - a damaged file can raise anything
        raise refusal("DAMAGED", f"parsing ended with {type(error).__name__}") from None


def value(dataset: Dataset, keyword: str) -> Any:
    """Return an attribute's value, ``None`` where it is absent or empty.

    Raises:
        DicomError: ``DAMAGED``: the value is no value of its type.
    """
    if keyword not in dataset:  # most are absent, and to catch warnings costs more than to look
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - a damaged value can raise anything
        raise refusal("DAMAGED", f"{keyword} cannot be parsed") from None
    return None if found is None or (isinstance(found, str | bytes) and not found) else found


def text(dataset: Dataset, keyword: str) -> str:
    """Return an attribute's value as text, empty where it is absent."""
    found = value(dataset, keyword)
    return "" if found is None else str(found).strip()


def words(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a multi-valued attribute in upper case."""
    found = value(dataset, keyword)
    if found is None:
        return ()
    several = [found] if isinstance(found, str | bytes) else list(found)
    return tuple(str(word).strip().upper() for word in several)


def modality_of(dataset: Dataset) -> str:
    """Return the Modality, or an empty string where it is no code."""
    found = text(dataset, "Modality").upper()
    return found if found.isalnum() and len(found) <= 16 else ""


def integer(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """Return an attribute as an integer.

    Raises:
        DicomError: ``PIXEL_FORMAT``: absent without ``default``, or no integer.
    """
    found = value(dataset, keyword)
    if found is None and default is not None:
        return default
    try:
        return int(found)
    except (TypeError, ValueError, OverflowError):
        state = "absent" if found is None else "no integer"
        raise refusal("PIXEL_FORMAT", f"{keyword} is {state}") from None


def _inflated(file: IO[bytes], pixels: bool) -> IO[bytes]:
    """Return ``file``, or an explicit copy of a deflated one that is no larger than the limit."""
    syntax, start = _meta(file)
    file.seek(0)
    if syntax != DEFLATED:
        return file
    limit = MAX_INFLATED if pixels else MAX_INFLATED_HEADER
    file.seek(start)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflate.decompress(file.read(limit), limit)
    if pixels and len(body) >= limit:
        raise refusal("DEFLATE_BOMB", f"over {limit >> 20} MB")
    name = EXPLICIT.encode() + b"\0"
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(name)) + name
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(element))
    return io.BytesIO(bytes(128) + b"DICM" + length + element + body)


def _meta(file: IO[bytes]) -> tuple[str, int]:
    """Return the transfer syntax and where the data set starts, read by hand and bounded."""
    file.seek(132)
    head = file.read(_SHORT_ENOUGH)
    at, syntax = 0, ""
    while head[at : at + 2] == b"\x02\x00" and at + 12 <= len(head):
        kind = head[at + 4 : at + 6]
        long_form = kind in _LONG_FORM
        start = at + (12 if long_form else 8)
        length = int.from_bytes(head[start - 4 if long_form else start - 2 : start], "little")
        if head[at + 2 : at + 4] == b"\x10\x00":
            syntax = head[start : start + length].rstrip(b"\0 ").decode("ascii", "replace")
        at = start + length
    return syntax, 132 + at
