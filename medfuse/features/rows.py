"""An array as a checked database row: type, shape, bytes and a checksum over all of it."""

from __future__ import annotations

import hashlib

import numpy as np

from medfuse.features.keys import BankKey

DTYPES = ("float32", "float16")
_LITTLE = {name: np.dtype(name).newbyteorder("<") for name in DTYPES}

Head = tuple[bytes, bytes, int, int]
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
    head = key.row()
    return (*head, name, shape, data, _checksum(head, name, shape, data))


def decode(columns: Columns) -> np.ndarray | None:
    """Return the array of a row, or ``None`` where any bit of it has changed.

    Args:
        columns: of the table; what comes after them is not looked at.
    """
    name, shape, data, checksum = columns[4:8]
    if name not in DTYPES or _checksum(columns[:4], name, shape, data) != checksum:
        return None
    values = np.frombuffer(data, dtype=_LITTLE[name])
    if "," in shape or not shape:
        values = values.reshape([int(size) for size in shape.split(",") if size])
    return values if values.dtype.isnative else values.astype(name)


def _checksum(head: Head, name: str, shape: str, data: bytes) -> bytes:
    digest = hashlib.blake2b(repr((*head, name, shape)).encode(), digest_size=16)
    digest.update(data)
    return digest.digest()
