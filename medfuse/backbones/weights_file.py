"""Read a weights file: tensors by key, from whatever container they lie in; nothing is executed."""

from __future__ import annotations

import logging
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medfuse.backbones import inert_pickle
from medfuse.backbones.bounded_pickle import count_places
from medfuse.backbones.file_formats import (
    foreign_folder,
    foreign_format,
    is_safetensors,
    pickles,
)
from medfuse.backbones.inert_pickle import Inert
from medfuse.errors import WeightsError
from medfuse.storage import sha256_file

_CONTAINERS = ("state_dict", "model_state_dict", "model", "network")
_LOG = logging.getLogger("medfuse.backbones")
# Of a file that is no pickle, torch's unpickler runs stray operations: they raise many things.
_DAMAGED = (
    SafetensorError,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        tensors: by key, on the CPU.
        container: where in the file they lie: the name of a part, or ``""`` where the file is a
            state dict. Of several parts, keys start with the part's name.
    """

    tensors: dict[str, Tensor]
    container: str = ""


def load_state(path: Path | str, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a weights file, as `load_weights` reads them."""
    return load_weights(path, sha256).tensors


def load_weights(
    path: Path | str, sha256: str | None = None, prefixes: Iterable[str] = ()
) -> WeightsFile:
    """Return the tensors of a weights file, on the CPU.

    A checkpoint that holds its tensors under ``state_dict`` or ``model`` is unpacked; of one with
    other parts, such as ``student`` and ``teacher``, the keys begin with the part's name. Of a
    whole pickled network the tensors are read, without its code.

    Args:
        path: safetensors, or what ``torch.save`` wrote.
        sha256: digest that the file must have.
        prefixes: of the keys that are wanted. One that begins with the name of a part is why
            that part is looked into.

    Raises:
        WeightsError: absent, another digest, damaged, of another library, or a pickle that could
            run code.
    """
    file = require_file(path)
    if sha256 is not None and (found := sha256_file(file)) != sha256:
        raise WeightsError(
            f"{file}: sha256 is {found}, expected {sha256}. "
            "Get the right file, or correct sha256 if you trust this one."
        )
    content = _read_any(file)
    try:
        return _unpacked(content, file, {p.partition(".")[0] for p in prefixes})
    except _DAMAGED as error:  # a pickle may hold itself, or something else than its class says
        raise WeightsError(_damaged(file, error)) from error


def require_file(path: Path | str) -> Path:
    """Return the path of a weights file that is there and may hold tensors of torch.

    Raises:
        WeightsError: it is absent, or of another format.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise WeightsError(f"{file}: is {foreign_folder(file)}.")
        if not file.is_file():
            raise WeightsError(f"{file}: no such weights file. Check the path behind @.")
        found = foreign_format(file)
    except OSError as error:
        raise WeightsError(_damaged(file, error)) from error
    if found is not None:
        raise WeightsError(f"{file}: is {found}.")
    return file


def read_file(file: Path) -> Any:
    """Return what a file of tensors and plain values holds, on the CPU; nothing is executed.

    Raises:
        WeightsError: damaged, or it holds anything else.
    """
    try:
        return _plain(file)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refused(file, "its pickle holds more than tensors")) from error


def _read_any(file: Path) -> Any:
    """Return what a file holds; objects of other classes as stand-ins that cannot act."""
    try:
        return _plain(file)
    except pickle.UnpicklingError:
        return _inert(file)


def _plain(file: Path) -> Any:
    try:
        if is_safetensors(file):
            return load_file(file)
        for start in pickles(file):
            inert_pickle.follow(start)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise
    except _DAMAGED as error:
        raise WeightsError(_damaged(file, error)) from error


def _inert(file: Path) -> Any:
    """Return what a file holds, read by a pickle module that neither imports nor calls anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes whose code is not there: it is not wanted
            return torch.load(
                file, map_location="cpu", pickle_module=inert_pickle, weights_only=False
            )
    except pickle.UnpicklingError as error:
        raise WeightsError(_refused(file, str(error))) from error
    except _DAMAGED as error:
        raise WeightsError(_damaged(file, error)) from error


def _refused(file: Path, why: str) -> str:
    return (
        f"{file}: not a plain file of tensors ({why}); loading it could run code, so it is "
        "refused. Expected .safetensors, or a state dict written by torch.save."
    )


def _damaged(file: Path, error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return (
        f"{file}: cannot be read as weights ({text or type(error).__name__}). "
        "Expected an undamaged .safetensors file or state dict."
    )


def _unpacked(content: Any, file: Path, wanted: set[str]) -> WeightsFile:
    parts = _parts(content)
    container = next((name for name in _CONTAINERS if name in parts), None)
    if isinstance(content, Inert) and content.is_module:
        _LOG.info("%s: a pickled network; its tensors are read, its code is not", file)
        return WeightsFile(_tensors(dict(content.tensors()), file), "pickled network")
    if container is not None and not wanted & (set(parts) - {container}):
        return WeightsFile(_tensors(parts[container], file), container)
    if parts:
        tensors = {f"{name}.{key}": t for name, part in parts.items() for key, t in _all(part)}
        return WeightsFile(_tensors(tensors, file), ", ".join(parts))
    if not isinstance(content, Mapping):
        found = type(content).__name__
        raise WeightsError(f"{file}: holds a {found}, expected tensors by name (a state dict).")
    return WeightsFile(_tensors(content, file))


def _parts(content: Any) -> dict[str, Mapping[Any, Any]]:
    """Return the parts of a checkpoint that hold tensors; a state dict has none."""
    if not isinstance(content, Mapping) or any(isinstance(v, Tensor) for v in content.values()):
        return {}
    parts = {str(name): _as_mapping(part) for name, part in content.items()}
    return {name: part for name, part in parts.items() if any(True for _ in _all(part))}


def _as_mapping(part: Any) -> Mapping[Any, Any]:
    if isinstance(part, Inert):
        return dict(part.tensors())
    return part if isinstance(part, Mapping) else {}


def _all(
    part: Mapping[Any, Any], places: Iterator[int] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of a part and of the parts in it, by its full key."""
    places = count_places() if places is None else places
    next(places)
    for name, value in part.items():
        if isinstance(value, Tensor):
            yield str(name), value
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{key}", tensor) for key, tensor in _all(value, places))


def _tensors(content: Mapping[Any, Any], file: Path) -> dict[str, Tensor]:
    other = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if other or not content:
        found = f"{other[0]!r} is not a tensor" if other else "it is empty"
        raise WeightsError(f"{file}: expected tensors by name (a state dict), but {found}.")
    if (odd := next((key for key in content if not isinstance(key, str)), None)) is not None:
        raise WeightsError(
            f"{file}: a {type(odd).__name__} stands for a key, expected tensors by name. "
            "Save the network's state_dict."
        )
    return dict(content)
