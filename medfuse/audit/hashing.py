"""Perceptual hashes of thumbnails, and which of them are close.

The hash is the DCT hash of Zauner (2010, "Implementation and benchmarking of perceptual image
hash functions"): signs of the 8 x 8 lowest frequencies about their median, 64 bits. It is
computed here, for all thumbnails in one transform, rather than by the package imagehash: on
2200 images that took 0.04 s against 2.4 s, and needs no wavelet library.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

_LOW = 8
_SIDE = 32
_BLOCK = 2_000_000
_DETAIL_SIGMA = 2.0


def perceptual_hash(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return 64-bit hashes ``(N,)`` of thumbnails ``(N, 64, 64)``."""
    count, side = len(thumbnails), thumbnails.shape[1]
    step = side // _SIDE
    halved = thumbnails.reshape(count, _SIDE, step, _SIDE, step).mean((2, 4), dtype=np.float32)
    waves = dctn(halved, axes=(1, 2))[:, :_LOW, :_LOW].reshape(count, -1)
    bits = waves > np.median(waves, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def close_pairs(
    first: NDArray[np.uint64], second: NDArray[np.uint64], most_bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield blocks of index pairs ``i < j`` whose hashes differ in at most ``most_bits`` bits."""
    rows = max(1, _BLOCK // max(len(second), 1))
    for start in range(0, len(first), rows):
        block = first[start : start + rows]
        differing = _popcount(block[:, None] ^ second[None, :])
        i, j = np.nonzero(differing <= most_bits)
        later = j > i + start
        yield i[later] + start, j[later]


def detail(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return unit vectors ``(N, 64 * 64)`` of what is left without the coarse shape.

    Two chests share their coarse shape; only copies of one image share the detail. The dot
    product of two rows is the correlation of their detail.
    """
    values = thumbnails.astype(np.float32)
    fine = values - gaussian_filter(values, (0, _DETAIL_SIGMA, _DETAIL_SIGMA))
    flat = fine.reshape(len(fine), -1)
    flat -= flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(
        flat, length, out=np.zeros_like(flat), where=length > 1e-3
    )
    return unit


def _popcount(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the number of ones in each value (numpy 1.26 has no ``bitwise_count``)."""
    pairs = values - ((values >> np.uint64(1)) & np.uint64(0x5555555555555555))
    low = np.uint64(0x3333333333333333)
    fours = (pairs & low) + ((pairs >> np.uint64(2)) & low)
    eights = (fours + (fours >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    total: NDArray[np.uint64] = (eights * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return total.astype(np.uint8)
