"""Weights into a network: keys renamed as told, every key and shape checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from medfuse.errors import WeightsError

LEAVE_OUT = "-"
_SHOWN = 4
_UNUSED = "num_batches_tracked"


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


def needed_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Return the shape of every tensor that a module has to be given.

    ``num_batches_tracked`` is not among them: no result depends on it.
    """
    named = module.state_dict().items()
    return {key: t.shape for key, t in named if key.split(".")[-1] != _UNUSED}


def with_leading_axes(
    state: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Tensor]:
    """Return the state with leading axes of length 1 where a shape has them and the tensor not."""
    return {
        key: tensor.reshape(tuple(shapes[key]))
        if key in shapes and is_same_shape(tensor.shape, shapes[key])
        else tensor
        for key, tensor in state.items()
    }


def is_same_shape(found: Sequence[int], wanted: Sequence[int]) -> bool:
    """Tell whether two shapes are equal but for leading axes of length 1 that the first lacks."""
    more = len(wanted) - len(found)
    return more >= 0 and tuple(wanted) == (1,) * more + tuple(found)


def require_dense(state: Mapping[str, Tensor], where: str) -> None:
    """Pass if every tensor holds plain real numbers.

    Raises:
        WeightsError: one is sparse, quantized, complex or without numbers.
    """
    for key, tensor in state.items():
        plain = tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta)
        if not plain or tensor.is_complex():
            raise WeightsError(
                f"{where}: {key} is sparse, quantized, complex or empty of numbers "
                f"({tensor.layout}, {tensor.dtype}), expected a dense real tensor. Save it as one."
            )


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    remedies: Callable[[], Sequence[str]] = tuple,
    wrapper: str = "",
) -> None:
    """Copy ``state`` into ``module``; every key and shape must match.

    Only ``num_batches_tracked`` may be absent, which no result depends on.

    Args:
        module: gets the tensors.
        state: tensors by key.
        where: the source and file, for error texts.
        remedies: gives what would make the keys fit, for error texts.
        wrapper: prefix that a plugin puts before all keys; not shown, since no file has it.

    Raises:
        WeightsError: missing or extra keys, another shape, or numbers that are not finite.
    """
    expected = module.state_dict()
    missing = [key for key in needed_shapes(module) if key not in state]
    extra = [k for k in state if k not in expected]
    if missing or extra:
        missing, extra = ([k.removeprefix(wrapper) for k in keys] for keys in (missing, extra))
        raise WeightsError(_mismatch(where, missing, extra, remedies()))
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise WeightsError(
                f"{where}: {key} is {tuple(tensor.shape)}, expected {tuple(expected[key].shape)}. "
                "Other options, another input_size or another backbone may fit."
            )
        if not torch.isfinite(tensor.to(torch.float32)).all():
            raise WeightsError(
                f"{where}: {key} holds NaN or infinity, expected finite numbers. "
                "Take a checkpoint from before training diverged."
            )
    module.load_state_dict(dict(state), strict=False)


def weights_digest(module: nn.Module) -> str:
    """Return `state_digest` of all that decides what a network gives, as the network holds it.

    Files that give a network the same weights have one digest, whether they hold half precision
    and ``num_batches_tracked`` or not.
    """
    needed = needed_shapes(module)
    return state_digest({k: t for k, t in module.state_dict().items() if k in needed})


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 digest over name, dtype, shape and bytes of each tensor, sorted by name."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _mismatch(where: str, missing: list[str], extra: list[str], remedies: Sequence[str]) -> str:
    parts = []
    if missing:
        parts.append(f"{_count(missing)} missing ({_some(missing)})")
    if extra:
        parts.append(f"{_count(extra)} too many ({_some(extra)})")
    ways = list(remedies) or _usual_remedies(bool(missing), bool(extra))
    return f"{where}: {' and '.join(parts)}. Set {', or '.join(ways)}."


def _usual_remedies(missing: bool, extra: bool) -> list[str]:
    remedies = []
    if missing:
        remedies.append("cut: MODULE if the file ends there")
    if missing and extra:
        remedies.append("remap: {old prefix: new prefix} if names differ")
    if extra:
        remedies.append('remap: {prefix: "-"} to leave keys out')
    return remedies


def _count(keys: list[str]) -> str:
    return f"{len(keys)} {'key' if len(keys) == 1 else 'keys'}"


def _some(keys: Iterable[str]) -> str:
    names = list(keys)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
