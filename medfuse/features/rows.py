"""An array as a checked database row: type, shape, bytes and a checksum over all of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from medfuse.features.keys import BankKey

DTYPES = ("float32", "float16")
_LITTLE = {name: np.dtype(name).newbyteorder("<") for name in DTYPES}

Columns = tuple[bytes, bytes, int, int, str, str, bytes, bytes]


def encode(key: BankKey, values: np.ndarray) -> Columns:
    """Return the columns of one row.

    Args:
        key: what the values belong to.
        values: float32 or float16, any shape.
    """
    name = values.dtype.name
    if name not in DTYPES:
        raise ValueError(f"found values of type {name}, expected one of {', '.join(DTYPES)}")
    little = np.ascontiguousarray(values, dtype=_LITTLE[name])
    shape = ",".join(str(size) for size in values.shape)
    data = little.tobytes()
    head = (*key.row(), name, shape)
    return (*head, data, _checksum(head, data))


def is_whole(columns: Columns) -> bool:
    """Tell whether no bit of a row has changed; what comes after its columns is not looked at."""
    name, shape, data, checksum = columns[4:8]
    return (
        name in DTYPES
        and isinstance(data, bytes)
        and _checksum(columns[:6], data) == checksum
        and len(data) == _bytes_of(name, shape)
    )


def decode(columns: Columns) -> np.ndarray | None:
    """Return the array of a row, or ``None`` where any bit of it has changed."""
    return decode_alike([columns])[0, ...] if is_whole(columns) else None


def decode_alike(rows: Sequence[Columns]) -> np.ndarray:
    """Return the arrays of whole rows of one type and shape, ``(rows, *shape)``."""
    name, shape = rows[0][4:6]
    values = np.frombuffer(b"".join([columns[6] for columns in rows]), dtype=_LITTLE[name])
    values = values.reshape([len(rows), *_sizes(shape)])
    return values if values.dtype.isnative else values.astype(name)


def _sizes(shape: str) -> list[int]:
    return [int(size) for size in shape.split(",") if size]


@lru_cache(maxsize=16)
def _bytes_of(name: str, shape: str) -> int | None:
    """Return how long the data of a row is; ``None`` where the shape is none."""
    try:
        return math.prod(_sizes(shape)) * _LITTLE[name].itemsize
    except ValueError:
        return None


def _checksum(head: tuple[Any, ...], data: bytes) -> bytes:
    return hashlib.blake2b(repr(head).encode() + data, digest_size=16).digest()
