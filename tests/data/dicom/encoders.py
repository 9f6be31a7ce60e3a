"""Encoders of one frame, for tests: two written from the standards, two of permissive packages."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

_CODE_BITS = 5  # 17 categories, each with a code of 5 bits


def rle(pixels: NDArray[np.uint16]) -> bytes:
    """Return literal runs, high bytes first (PS3.5 annex G)."""
    segments = []
    for plane in ((pixels >> 8).astype(np.uint8), (pixels & 255).astype(np.uint8)):
        packed = b"".join(bytes([len(row) - 1]) + row.tobytes() for row in plane)
        segments.append(packed + bytes(len(packed) % 2))
    places = [64, 64 + len(segments[0])] + [0] * 13
    return np.array([2, *places], "<u4").tobytes() + b"".join(segments)


def jpeg_lossless(pixels: NDArray[np.uint16], predictor: int, precision: int = 12) -> bytes:
    """Return lossless JPEG with a flat Huffman table (ITU T.81 annex H)."""
    rows, columns = pixels.shape
    frame = struct.pack(">BHHBBBB", precision, rows, columns, 1, 1, 0x11, 0)
    lengths = bytes(17 if bits == _CODE_BITS else 0 for bits in range(1, 17))
    tables = bytes([0]) + lengths + bytes(range(17))
    scan = bytes([1, 1, 0, predictor, 0, 0])
    parts = [(0xC3, frame), (0xC4, tables), (0xDA, scan)]
    head = b"".join(struct.pack(">BBH", 0xFF, mark, len(part) + 2) + part for mark, part in parts)
    bits = "".join(_difference(value) for value in _differences(pixels, predictor, precision))
    bits += "1" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    return b"\xff\xd8" + head + body + b"\xff\xd9"


def _differences(pixels: NDArray[np.uint16], predictor: int, precision: int) -> list[int]:
    values = pixels.astype(int)
    found = []
    for (row, column), value in np.ndenumerate(values):
        left, above = values[row, column - 1], values[row - 1, column]
        if row == 0:
            guess = 1 << (precision - 1) if column == 0 else left
        elif column == 0:
            guess = above
        else:
            guess = {1: left, 4: left + above - values[row - 1, column - 1]}[predictor]
        found.append(int(value - guess))
    return found


def _difference(value: int) -> str:
    category = abs(value).bit_length()
    code = f"{category:0{_CODE_BITS}b}"
    if not category:
        return code
    return code + f"{value if value > 0 else value + (1 << category) - 1:0{category}b}"


def jpeg_ls(pixels: NDArray[np.uint16]) -> bytes:
    """Return lossless JPEG-LS."""
    module = pytest.importorskip("jpeg_ls", reason="promise not shown: needs pyjpegls")
    return bytes(module.encode_array(pixels))


def jpeg_2000(pixels: NDArray[np.uint16]) -> bytes:
    """Return lossless JPEG 2000."""
    reason = "promise not shown: needs pylibjpeg-openjpeg"
    module = pytest.importorskip("openjpeg.utils", reason=reason)
    return bytes(module.encode_array(pixels, bits_stored=12, photometric_interpretation=2))
