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
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

_LENGTH = 8
_MAX_MESSAGE = 1 << 28
_KINDS = "biuf"


class WireError(ValueError):
    """The other side sent what it never sends."""


class WireEndedError(WireError):
    """The other side ended."""


def send(pipe: IO[bytes], value: object) -> None:
    """Write one message: its length, its JSON, then each array as it lies in memory."""
    arrays: list[NDArray[Any]] = []
    text = json.dumps(_packed(value, arrays)).encode("ascii")
    _write(pipe, memoryview(len(text).to_bytes(_LENGTH, "big") + text))
    for array in arrays:
        if array.size:
            _write(pipe, memoryview(array).cast("B"))


def receive(pipe: IO[bytes], types: Mapping[str, Callable[..., object]], limit: int) -> object:
    """Return the next message, sequences as tuples.

    Args:
        pipe: an unbuffered binary file.
        types: the dataclasses that may be in it, by name.
        limit: most bytes that its arrays may have together.

    Raises:
        WireError: this is no message of `send`.
        WireEndedError: the pipe ended.
    """
    length = int.from_bytes(_read(pipe, bytearray(_LENGTH)), "big")
    if length > _MAX_MESSAGE:
        raise WireError("a message that is too long")
    text = _read(pipe, bytearray(length))
    try:
        return _Unpacking(pipe, types, limit).value(json.loads(text))
    except WireError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WireError(f"no message: {type(error).__name__}") from error


def _packed(value: object, arrays: list[NDArray[Any]]) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return {"path": os.fspath(value)}
    if isinstance(value, np.ndarray):
        return _packed_array(value, arrays)
    if isinstance(value, Mapping):
        return {"map": [[key, _packed(item, arrays)] for key, item in value.items()]}
    if isinstance(value, Sequence):
        return [_packed(item, arrays) for item in value]
    names = [field.name for field in dataclasses.fields(cast(Any, value)) if field.init]
    inside = [[name, _packed(getattr(value, name), arrays)] for name in names]
    return {"type": type(value).__name__, "fields": inside}


def _packed_array(value: NDArray[Any], arrays: list[NDArray[Any]]) -> object:
    """Note the array and its order: one in Fortran's order keeps it and is not copied."""
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    arrays.append(np.ascontiguousarray(value.T if fortran else value))
    return {"array": value.dtype.str, "shape": list(value.shape), "fortran": fortran}


class _Unpacking:
    """Rebuilds one message; ``left`` bytes of arrays may still come."""

    def __init__(
        self, pipe: IO[bytes], types: Mapping[str, Callable[..., object]], limit: int
    ) -> None:
        self.pipe = pipe
        self.types = types
        self.left = limit

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
        whole = np.empty(shape[::-1] if packed["fortran"] else shape, dtype)
        if whole.size:
            _read(self.pipe, memoryview(whole).cast("B"))
        return whole.T if packed["fortran"] else whole


def _write(pipe: IO[bytes], data: memoryview) -> None:
    while data:
        data = data[pipe.write(data) :]


def _read(pipe: IO[bytes], into: Any) -> Any:
    left = memoryview(into)
    while left:
        count = pipe.readinto(left)  # type: ignore[attr-defined]
        if not count:
            raise WireEndedError("the pipe ended")
        left = left[count:]
    return into
