"""Unpickle in bounded time and memory: a file of ten bytes can otherwise ask for gigabytes."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

UnpicklingError = pickle.UnpicklingError

_MOST_PARTS = 100_000
_DEEPEST_KEY = 3
_LONGEST_KEY = 100


class Unpickler(pickle._Unpickler):
    """Fills only containers and what a subclass allows, under keys that are hashed at once.

    It is the unpickler written in Python: that in C makes room for as many objects as a file
    says that it has.

    Attributes:
        fillable: classes that a pickle may give a state or items, besides containers.
    """

    fillable: ClassVar[tuple[type, ...]] = ()
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)


def count_places() -> Iterator[int]:
    """Yield a number for each place that holds a part of a file.

    Raises:
        ValueError: at more of them than any network has.
    """
    yield from range(_MOST_PARTS)
    raise ValueError(f"it has more than {_MOST_PARTS} parts")


def require_keys(keys: Iterable[object]) -> None:
    """Pass if each key can be hashed at once: of tuples in tuples, the time and stack explode."""
    for key in keys:
        if not _is_simple(key):
            raise UnpicklingError("a key in it is a tuple of many")


def _checked(opcode: bytes, check: Callable[[Any], None]) -> None:
    """Have the state of the unpickler checked before it follows an instruction."""
    follow = Unpickler.dispatch[opcode[0]]

    def checked(unpickler: Any) -> None:
        check(unpickler)
        follow(unpickler)

    Unpickler.dispatch[opcode[0]] = checked


def _require(unpickler: Any, target: object, kind: type) -> None:
    if not isinstance(target, (*unpickler.fillable, kind)):
        raise UnpicklingError(f"it puts something into a {type(target).__name__}")


def _is_simple(key: object, depth: int = 0) -> bool:
    if not isinstance(key, (tuple, frozenset)):
        return True
    return (
        depth < _DEEPEST_KEY
        and len(key) <= _LONGEST_KEY
        and all(_is_simple(part, depth + 1) for part in key)
    )


def _check_item(unpickler: Any) -> None:
    _require(unpickler, unpickler.stack[-3], dict)
    require_keys([unpickler.stack[-2]])


def _check_items(unpickler: Any) -> None:
    _require(unpickler, unpickler.metastack[-1][-1], dict)
    require_keys(unpickler.stack[::2])


def _check_call(unpickler: Any) -> None:
    """Pass if an ordered dictionary is made of nothing, or of pairs whose keys can be hashed."""
    called, arguments = unpickler.stack[-2:]
    if called is not OrderedDict or arguments == ():
        return
    (pairs,) = arguments
    if not isinstance(pairs, (list, tuple)):
        raise UnpicklingError(f"it makes a dictionary of a {type(pairs).__name__}")
    require_keys(key for key, _ in pairs)


def _check_old_call(arguments: list[object]) -> None:
    if arguments:
        raise UnpicklingError("it asks to call a class in the way of Python 2")


def _load_bytearray(unpickler: Any) -> None:
    """Read what is there; Python would first make room for what is announced."""
    (length,) = struct.unpack("<Q", unpickler.read(8))
    unpickler.append(bytearray(unpickler.read(length)))


_checked(pickle.BUILD, lambda u: _require(u, u.stack[-2], OrderedDict))
_checked(pickle.APPEND, lambda u: _require(u, u.stack[-2], list))
_checked(pickle.APPENDS, lambda u: _require(u, u.metastack[-1][-1], list))
_checked(pickle.ADDITEMS, lambda u: _require(u, u.metastack[-1][-1], set))
_checked(pickle.ADDITEMS, lambda u: require_keys(u.stack))
_checked(pickle.FROZENSET, lambda u: require_keys(u.stack))
_checked(pickle.DICT, lambda u: require_keys(u.stack[::2]))
_checked(pickle.SETITEM, _check_item)
_checked(pickle.SETITEMS, _check_items)
_checked(pickle.REDUCE, _check_call)
_checked(pickle.OBJ, lambda u: _check_old_call(u.stack[1:]))
_checked(pickle.INST, lambda u: _check_old_call(u.stack))
Unpickler.dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray
