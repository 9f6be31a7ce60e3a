"""Read a pickle as data: of every class and function that it names, only the name is used.

What ``torch.save(model)`` writes needs the model's code to be loaded as a model, but its tensors
do not. Here each name that a pickle asks for becomes an inert stand-in that records what it is
given; nothing is imported and nothing is called but the few builders of tensors in `_BUILDERS`.
This module has the shape of ``pickle``, so that ``torch.load`` can be told to use it.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from medfuse.backbones import bounded_pickle
from medfuse.backbones.bounded_pickle import count_places, require_keys

UnpicklingError = pickle.UnpicklingError

_MODULE_PARTS = ("_parameters", "_buffers", "_modules")
# Checkpoints hold such values beside the tensors. They are not made: stand-ins take their place.
_PLAIN_PACKAGES = ("numpy", "pathlib", "datetime", "collections", "functools", "argparse", "enum")
_PLAIN_CALLS = frozenset(
    f"builtins.{name}" for name in ("frozenset", "slice", "range", "complex", "bytearray")
) | {"_codecs.encode", "copyreg._reconstructor"}
_NAMES_OF_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Inert:
    """Stands for an object of a class that is not imported.

    Attributes:
        path: full name of the class or function.
        state: what the pickle says the object consists of.
    """

    path: ClassVar[str] = ""
    state: Any

    def __new__(cls, *_arguments: object) -> Inert:
        """Return a stand-in; a pickle makes objects this way without calling their class."""
        made = super().__new__(cls)
        made.state = {}
        return made

    def __init__(self, *arguments: object) -> None:
        """Note a call with arguments.

        Raises:
            UnpicklingError: it is to something that weights have no need of.
        """
        plain = self.path in _PLAIN_CALLS or self.path.split(".")[0] in _PLAIN_PACKAGES
        if arguments and not plain:
            raise UnpicklingError(f"it asks to call {self.path}")

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Take what is put into a mapping that this stands for."""

    def append(self, value: object) -> None:
        """Take what is appended to a list that this stands for."""

    def extend(self, values: object) -> None:
        """Take what is appended to a list that this stands for."""

    @property
    def is_module(self) -> bool:
        """Whether this stands for a network of torch."""
        return isinstance(self.state, dict) and all(part in self.state for part in _MODULE_PARTS)

    def tensors(
        self, prefix: str = "", places: Iterator[int] | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield what the ``state_dict()`` of the network that this stands for would hold.

        Raises:
            ValueError: it holds its parts in too many places; a small file can name one part
                in billions of them.
        """
        places = count_places() if places is None else places
        if not self.is_module:
            return
        next(places)
        passing = self.state.get("_non_persistent_buffers_set") or ()
        for part in ("_parameters", "_buffers"):
            for name, value in self.state[part].items():
                if isinstance(value, Tensor) and name not in passing:
                    yield f"{prefix}{name}", value.detach()
        for name, child in self.state["_modules"].items():
            if isinstance(child, Inert):
                yield from child.tensors(f"{prefix}{name}.", places)


class Unpickler(bounded_pickle.Unpickler):
    """Unpickles data; names become stand-ins."""

    fillable = (Inert,)

    def find_class(self, module: str, name: str) -> Any:
        """Return a builder of tensors, or a stand-in of its own for every other name."""
        path = f"{_NAMES_OF_PYTHON_2.get(module, module)}.{name}"
        if path in _BUILDERS:
            return _BUILDERS[path]
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        return type("Stand-in", (Inert,), {"path": path})


def follow(file: Any) -> None:
    """Pass if the next pickle of an open file asks for bounded time and memory; build nothing.

    Raises:
        UnpicklingError: it does not.
    """
    _Follower(file, encoding="utf-8").load()


class _Called(Inert):
    """Stands for whatever a call returns."""

    def __init__(self, *arguments: object) -> None:
        if self.path == "builtins.bytearray" and not all(
            isinstance(a, (bytes, str, list, tuple)) for a in arguments
        ):
            raise UnpicklingError("it asks for an array of bytes without saying which")


class _Follower(Unpickler):
    """Follows a pickle; also tensors are stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        path = f"{_NAMES_OF_PYTHON_2.get(module, module)}.{name}"
        if path in ("collections.OrderedDict", "builtins.set"):
            return _BUILDERS[path]
        return type("Stand-in", (_Called,), {"path": path})

    def persistent_load(self, identity: object) -> object:
        is_class = isinstance(identity, tuple) and identity[:1] == ("module",)
        return identity[1] if isinstance(identity, tuple) and is_class else Inert()


def load(file: Any, **_options: object) -> Any:
    """Return the next pickle of an open file, as data."""
    return Unpickler(file).load()


class _TensorBuilder:
    """Builds a tensor from a storage that torch has read. A pickle can set nothing on it."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Tensor:
        storage, offset, size, stride, *_ = arguments
        rebuild: Callable[..., Tensor] = torch._utils._rebuild_tensor
        return rebuild(storage, offset, size, stride)


class _Parameter:
    """Returns the tensor of a parameter."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        return arguments[0]


class _Set:
    """Returns a set: a network keeps the names of its passing buffers in one."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> set[Any]:
        members = arguments[0] if arguments else ()
        _require_sequence(members)
        require_keys(members)
        return set(members)


class _Size:
    """Returns a shape."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> tuple[int, ...]:
        lengths = arguments[0] if arguments else ()
        _require_sequence(lengths)
        return tuple(lengths)


def _require_sequence(given: object) -> None:
    """Pass if a value lists what it has; a tensor can claim more than there is memory."""
    if not isinstance(given, (list, tuple)):
        raise UnpicklingError(f"it makes a set or shape of a {type(given).__name__}")


_BUILDERS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": _TensorBuilder(),
    "torch._utils._rebuild_tensor_v2": _TensorBuilder(),
    "torch._utils._rebuild_parameter": _Parameter(),
    "torch._utils._rebuild_parameter_with_state": _Parameter(),
    "torch.Size": _Size(),
    "builtins.set": _Set(),
}
