"""What is known of an image file, and why one cannot be used.

This file is copied into every bundle, so it imports numpy alone.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

MAX_PIXELS = 80_000_000
ORIENTATION_TAG = 274


class ImageFileError(ValueError):
    """A file that cannot be used as an image.

    Args:
        code: ``FILE_NOT_FOUND``, ``NOT_A_FILE``, ``UNREADABLE``, ``EMPTY_FILE``, ``NOT_AN_IMAGE``,
            ``TRUNCATED``, ``CORRUPT``, ``TOO_LARGE``, ``UNSUPPORTED``, ``UNSUPPORTED_SHAPE``,
            ``NON_FINITE``, ``OUT_OF_RANGE``, ``BIT_DEPTH``, ``PLUGIN_READER``; of volumes
            also ``FOUR_D`` and ``NO_GEOMETRY``; of DICOM the codes of its reader (``refusal.py``).
        reference: the file.
        text: what was found, what is expected.
    """

    def __init__(self, code: str, reference: str, text: str) -> None:
        super().__init__(f"{reference}: {text} [{code}]")
        self.code = code


@dataclass(frozen=True)
class ImageFacts:
    """What a file says of its own pixels.

    Attributes:
        bits: per stored sample: 8 (also for 1, 2 and 4), 16, or 32 for floating point.
        signed: samples may be negative.
        format: ``PNG``, ``JPEG``, ``BMP``, ``TIFF``, ``NPY`` or ``DICOM``.
        events: ``(code, detail)`` of each conversion that reading took.
        modality: as DICOM writes it (``CR``, ``DX``, ``MG``, ``CT``); empty of other formats.
        spacing: mm between rows and between columns, as DICOM has it; ``None`` where unknown.
        stored_bits: per sample in the file, where reading changes them; else 0.
    """

    bits: int
    signed: bool
    format: str
    events: tuple[tuple[str, str], ...] = ()
    modality: str = ""
    spacing: tuple[float, float] | None = None
    stored_bits: int = 0


def facts_of_array(
    pixels: NDArray[Any], file_format: str, events: Sequence[tuple[str, str]]
) -> ImageFacts:
    """Return what the type of an array says."""
    known = pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2
    bits = pixels.dtype.itemsize * 8 if known else 32
    return ImageFacts(bits, pixels.dtype.kind != "u", file_format, tuple(events))


def require_size(path: str, pixels: int) -> None:
    """Refuse what would fill the memory.

    Raises:
        ImageFileError: more than 80 million pixels.
    """
    if pixels > MAX_PIXELS:
        raise ImageFileError("TOO_LARGE", path, f"has {pixels} pixels, at most {MAX_PIXELS}.")


def require_regular_file(path: str) -> None:
    """Pass if there is a file with something in it.

    Raises:
        ImageFileError: nothing is there, or a folder, a pipe, an empty file.
    """
    try:
        status = Path(path).stat()
    except PermissionError as error:
        raise ImageFileError("UNREADABLE", path, "may not be read by this user.") from error
    except (OSError, ValueError) as error:
        raise ImageFileError("FILE_NOT_FOUND", path, "there is no such file.") from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageFileError("NOT_A_FILE", path, "is no regular file, expected an image file.")
    if status.st_size == 0:
        raise ImageFileError("EMPTY_FILE", path, "is empty (0 bytes). Copy it again.")


def damaged(path: str, error: Exception) -> ImageFileError:
    """Return the error for a file whose decoder failed."""
    text = str(error).lower()
    short = (
        isinstance(error, EOFError | struct.error) or "truncated" in text or "incomplete" in text
    )
    if short:
        return ImageFileError("TRUNCATED", path, "ends before its last pixel. Copy it again.")
    return ImageFileError("CORRUPT", path, f"cannot be decoded ({type(error).__name__}).")
