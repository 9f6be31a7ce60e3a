"""What travels between the decoding process and its parent: JSON, then the bytes of the arrays.

Nothing here can run code: the decoding process has handled untrusted files, so its parent rebuilds
only the dataclasses it names itself, and arrays of numbers that fit its memory limit.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

_LENGTH = 8
_MAX_MESSAGE = 1 << 28
_KINDS = "biuf"
_LARGE = 1 << 20

Store = Callable[[memoryview], int]
Find = Callable[[int, int], NDArray[np.uint8]]


class WireError(ValueError):
    """The other side sent what it never sends."""


class WireEndedError(WireError):
    """The other side ended."""


def send(pipe: IO[bytes], value: object, store: Store | None = None) -> None:
    """Write one message: its length, its JSON, then each array as it lies in memory.

    Args:
        pipe: an unbuffered binary file.
        value: dataclasses, sequences, mappings, arrays, paths, text and numbers.
        store: keeps the bytes of a large array and returns the number by which the receiver
            finds them.
    """
    arrays: list[memoryview] = []
    text = json.dumps(_Packing(arrays, store).value(value)).encode("ascii")
    _write(pipe, memoryview(len(text).to_bytes(_LENGTH, "big") + text))
    for array in arrays:
        _write(pipe, array)


def receive(
    pipe: IO[bytes],
    types: Mapping[str, Callable[..., object]],
    limit: int,
    find: Find | None = None,
) -> object:
    """Return the next message, sequences as tuples.

    Args:
        pipe: an unbuffered binary file.
        types: the dataclasses that may be in it, by name.
        limit: most bytes that its arrays may have together.
        find: returns the bytes of an array that was stored, from their number and size.

    Raises:
        WireError: this is no message of `send`.
        WireEndedError: the pipe ended.
    """
    start = bytearray(_LENGTH)
    _read(pipe, start)
    length = int.from_bytes(start, "big")
    if length > _MAX_MESSAGE:
        raise WireError("a message that is too long")
    text = bytearray(length)
    _read(pipe, text)
    try:
        return _Unpacking(pipe, types, limit, find).value(json.loads(text))
    except WireError:
        raise
    except (KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        raise WireError(f"no message: {type(error).__name__}") from error


class _Packing:
    """Turns one value into JSON's types; the arrays that follow them collect in ``arrays``."""

    def __init__(self, arrays: list[memoryview], store: Store | None) -> None:
        self.arrays = arrays
        self.store = store

    def value(self, value: object) -> object:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, PurePath):
            return {"path": os.fspath(value)}
        if isinstance(value, np.ndarray):
            return self.array(value)
        if isinstance(value, Mapping):
            return {"map": [[key, self.value(item)] for key, item in value.items()]}
        if isinstance(value, Sequence):
            return [self.value(item) for item in value]
        names = [field.name for field in dataclasses.fields(cast(Any, value)) if field.init]
        inside = [[name, self.value(getattr(value, name))] for name in names]
        return {"type": type(value).__name__, "fields": inside}

    def array(self, value: NDArray[Any]) -> object:
        """Note the array and its order: one in Fortran's order keeps it and is not copied."""
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        if value.dtype.kind not in _KINDS:
            raise TypeError(f"an array of {value.dtype} cannot be sent")
        whole = np.ascontiguousarray(value.T if fortran else value)
        data = memoryview(cast(Any, whole)).cast("B") if whole.size else memoryview(b"")
        number = self.store(data) if self.store and len(data) >= _LARGE else None
        if number is None:
            self.arrays.append(data)
        shape = list(value.shape)
        return {"array": whole.dtype.str, "shape": shape, "fortran": fortran, "number": number}


@dataclasses.dataclass
class _Unpacking:
    """Rebuilds one message; ``left`` bytes of arrays may still come."""

    pipe: IO[bytes]
    types: Mapping[str, Callable[..., object]]
    left: int
    find: Find | None

    def value(self, packed: Any) -> object:
        if isinstance(packed, list):
            return tuple(self.value(item) for item in packed)
        if not isinstance(packed, dict):
            return packed
        if "array" in packed:
            return self.array(packed)
        if "path" in packed:
            return Path(packed["path"])
        if "map" in packed:
            return {key: self.value(item) for key, item in packed["map"]}
        build = self.types[packed["type"]]
        return build(**{name: self.value(item) for name, item in packed["fields"]})

    def array(self, packed: dict[str, Any]) -> NDArray[Any]:
        dtype, shape = np.dtype(packed["array"]), tuple(int(n) for n in packed["shape"])
        size = dtype.itemsize * math.prod(shape)
        if dtype.kind not in _KINDS or min(shape, default=0) < 0 or not 0 <= size <= self.left:
            raise WireError("an array that is not expected")
        self.left -= size
        flat = self.data(packed["number"], size).view(dtype)
        order: Literal["F", "C"] = "F" if packed["fortran"] else "C"
        return np.asarray(flat.reshape(shape, order=order))

    def data(self, number: int | None, size: int) -> NDArray[np.uint8]:
        if number is None:
            data = np.empty(size, np.uint8)
            _read(self.pipe, data)
            return data
        if self.find is None:
            raise WireError("an array that is not expected")
        return self.find(number, size)


def _write(pipe: IO[bytes], data: memoryview) -> None:
    while data:
        data = data[pipe.write(data) :]


def _read(pipe: IO[bytes], into: Any) -> None:
    left = memoryview(into).cast("B")
    while left:
        count = pipe.readinto(left)  # type: ignore[attr-defined]
        if not count:
            raise WireEndedError("the pipe ended")
        left = left[count:]
