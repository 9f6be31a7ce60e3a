"""An array as a checked database row: type, shape, bytes and a checksum over all of it."""

from __future__ import annotations

import hashlib

import numpy as np

from medfuse.features.keys import BankKey

DTYPES = ("float32", "float16")

Row = tuple[bytes, bytes, int, int, str, str, bytes, bytes]


def encode(key: BankKey, values: np.ndarray) -> Row:
    """Return the columns of one row.

    Args:
        key: what the values belong to.
        values: float32 or float16, any shape.
    """
    name = values.dtype.name
    if name not in DTYPES:
        raise ValueError(f"found values of type {name}, expected one of {', '.join(DTYPES)}")
    little = np.ascontiguousarray(values, dtype=np.dtype(name).newbyteorder("<"))
    shape = ",".join(str(size) for size in values.shape)
    data = little.tobytes()
    return (*key.row(), name, shape, data, _checksum(key, name, shape, data))


def decode(key: BankKey, columns: tuple[str, str, bytes, bytes]) -> np.ndarray | None:
    """Return the array of a row, or ``None`` where any bit of it has changed."""
    name, shape, data, checksum = columns
    if name not in DTYPES or _checksum(key, name, shape, data) != checksum:
        return None
    sizes = [int(size) for size in shape.split(",") if size]
    values = np.frombuffer(data, dtype=np.dtype(name).newbyteorder("<")).reshape(sizes)
    return values.astype(np.dtype(name), copy=False)


def _checksum(key: BankKey, name: str, shape: str, data: bytes) -> bytes:
    digest = hashlib.blake2b(repr((*key.row(), name, shape)).encode(), digest_size=16)
    digest.update(data)
    return digest.digest()
