"""Refuse compressed pixels whose own header asks for more than the DICOM header says."""

from __future__ import annotations

import struct

from .refusal import refusal

_JPEG = "1.2.840.10008.1.2.4."
_JPEG_2000_SYNTAXES = (".90", ".91", ".201", ".202", ".203")
_ITEM = b"\xfe\xff\x00\xe0"
_RUN_LENGTHS = "1.2.840.10008.1.2.5"
_JPEG_2000 = b"\xff\x4f\xff\x51"
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def require_fragments(data: bytes, frames: int, syntax: str) -> None:
    """Pass if there are enough fragments for the frames; in run lengths, one for each (PS3.5 A.4).

    Raises:
        DicomError: ``DECODE_FAILED``: there are fewer, or for run lengths more.
    """
    at, found = 0, -1  # the first item is the offset table
    while data[at : at + 4] == _ITEM and found <= frames:
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        found += 1
    if found < frames or (found > frames and syntax == _RUN_LENGTHS):
        raise refusal("DECODE_FAILED", f"{found} or more fragments for {frames} frames")


def require_size(data: bytes, shape: tuple[int, int, int, int], syntax: str) -> None:
    """Pass if the first codestream has the rows and columns of ``shape``, or none is found.

    Raises:
        DicomError: ``DECODE_FAILED``: it has others, so that a decoder would need more memory.
    """
    is_2000 = syntax.endswith(_JPEG_2000_SYNTAXES)
    start = data.find(_JPEG_2000 if is_2000 else b"\xff\xd8")
    if start < 0 or not syntax.startswith(_JPEG):
        return
    found = _jpeg_2000_size(data[start:]) if is_2000 else _jpeg_size(data[start:])
    if found is not None and found != shape[1:3]:
        raise refusal("DECODE_FAILED", f"codestream of {found}, header of {shape[1:3]}")


def _jpeg_2000_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 24:
        return None
    width, height, left, top = struct.unpack(">4I", data[8:24])
    return height - top, width - left


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME_MARKERS:
            rows, columns = struct.unpack(">2H", data[at + 5 : at + 9])
            return rows, columns
        length = 0 if marker in _WITHOUT_LENGTH else int.from_bytes(data[at + 2 : at + 4], "big")
        at += 1 if marker == 0xFF else 2 + length
    return None
