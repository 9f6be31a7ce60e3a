"""Load weights: files that cannot run code, whose digest and keys are checked."""

from __future__ import annotations

import hashlib
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medfuse.errors import WeightsError
from medfuse.storage import sha256_file

LEAVE_OUT = "-"
_CONTAINERS = ("state_dict", "model_state_dict", "model", "network")
_SHOWN = 4
_UNUSED = "num_batches_tracked"
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
    struct.error,
    zipfile.BadZipFile,
)


def load_state(path: Path | str, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a weights file, on the CPU.

    A checkpoint that holds its tensors under ``state_dict`` or ``model`` is unpacked.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote.
        sha256: digest that the file must have.

    Raises:
        WeightsError: absent, another digest, damaged, or a pickle that could run code.
    """
    file = require_file(path)
    if sha256 is not None and (found := sha256_file(file)) != sha256:
        raise WeightsError(
            f"{file}: sha256 is {found}, expected {sha256}. "
            "Get the right file, or correct sha256 if you trust this one."
        )
    return _tensors(read_file(file), file)


def require_file(path: Path | str) -> Path:
    """Return the path of a weights file that is there.

    Raises:
        WeightsError: it is not.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file. Check the path behind @.")
    return file


def read_file(file: Path) -> Any:
    """Return what a file of tensors holds, on the CPU; nothing in it is executed.

    Raises:
        WeightsError: damaged, or a pickle that could run code.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file}: not a plain file of tensors; loading it could run code, so it is refused. "
            "Expected .safetensors, or a state dict written by torch.save."
        ) from error
    except _DAMAGED as error:
        raise WeightsError(_damaged(file, error)) from error


def remap_keys(
    state: Mapping[str, Tensor], remap: Mapping[str, str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return ``(renamed state, keys left out)``.

    Args:
        state: tensors by key.
        remap: key prefixes, old to new; the longest that fits a key is used. ``""`` as old prefix
            fits every key, ``""`` as new one removes the old, ``"-"`` leaves the key out.

    Raises:
        WeightsError: two keys get the same name.
    """
    renamed: dict[str, Tensor] = {}
    left_out: list[str] = []
    by_length = sorted(remap, key=len, reverse=True)
    for key, tensor in state.items():
        old = next((prefix for prefix in by_length if key.startswith(prefix)), None)
        if old is not None and remap[old] == LEAVE_OUT:
            left_out.append(key)
            continue
        new = key if old is None else remap[old] + key.removeprefix(old)
        if new in renamed:
            raise WeightsError(f"remap: two keys become {new!r}, the second is {key!r}.")
        renamed[new] = tensor
    return renamed, tuple(left_out)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copy ``state`` into ``module``; every key and shape must match.

    Only ``num_batches_tracked`` may be absent, which no result depends on.

    Args:
        module: gets the tensors.
        state: tensors by key.
        where: the source and file, for error texts.

    Raises:
        WeightsError: missing or extra keys, or another shape.
    """
    expected = module.state_dict()
    missing = [k for k in expected if k not in state and k.split(".")[-1] != _UNUSED]
    extra = [k for k in state if k not in expected]
    if missing or extra:
        raise WeightsError(_mismatch(where, missing, extra))
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise WeightsError(
                f"{where}: {key} is {tuple(tensor.shape)}, expected {tuple(expected[key].shape)}. "
                "Other options, another input_size or another backbone may fit."
            )
    module.load_state_dict(dict(state), strict=False)


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 digest over name, dtype, shape and bytes of each tensor, sorted by name."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _damaged(file: Path, error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return (
        f"{file}: cannot be read as weights ({text or type(error).__name__}). "
        "Expected an undamaged .safetensors file or state dict."
    )


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    for name in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping):
        found = type(content).__name__
        raise WeightsError(f"{file}: holds a {found}, expected tensors by name (a state dict).")
    other = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if other or not content:
        found = f"{other[0]!r} is not a tensor" if other else "it is empty"
        raise WeightsError(f"{file}: expected tensors by name (a state dict), but {found}.")
    return dict(content)


def _mismatch(where: str, missing: list[str], extra: list[str]) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} keys missing ({_some(missing)})")
    if extra:
        parts.append(f"{len(extra)} keys too many ({_some(extra)})")
    remedies = []
    if missing:
        remedies.append("cut: MODULE if the file ends there")
    if missing and extra:
        remedies.append("remap: {old prefix: new prefix} if names differ")
    if extra:
        remedies.append('remap: {prefix: "-"} to leave keys out')
    return f"{where}: {' and '.join(parts)}. Set {', or '.join(remedies)}."


def _some(keys: Iterable[str]) -> str:
    names = list(keys)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
