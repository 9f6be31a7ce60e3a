"""Measure: what a timm model gives at its named places, and at which sizes it runs.

A model without memory (on torch's ``meta`` device) computes shapes alone, in a tenth of a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from medfuse.contract import Stage
from medfuse_timm.network import TimmBackbone

INNER = "net."
_ODD, _STEP = 97, 32
_EXACT = 0.01
_NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


class _Place(NamedTuple):
    layout: Literal["grid", "channels_last", "tokens"]
    width: int
    cells: float
    prefix: int = 0


def stages(backbone: TimmBackbone, size: Sequence[int]) -> tuple[Stage, ...]:
    """Return the places to cut or freeze at, from input to output.

    They are those that timm names and the blocks between them, as far as they give one tensor
    that is a map, or tokens that form a grid.

    Args:
        backbone: in eval mode.
        size: ``(H, W)`` at which it runs.

    Raises:
        ValueError: it does not give one feature map.
    """
    paths = list(_places(backbone.net))
    found = _outputs(backbone, paths, size)
    described = ((path, _place(found.get(path), backbone, size)) for path in paths)
    return tuple(_stage(path, place, size) for path, place in described if place is not None)


def size_policy(backbone: TimmBackbone) -> str:
    """Return ``any``, ``multiple_of:n``, or ``fixed`` where nothing else was found to work."""
    patch = getattr(getattr(backbone.net, "patch_embed", None), "patch_size", _STEP)
    step = max(patch) if isinstance(patch, (tuple, list)) else int(patch)
    if _runs(backbone, _ODD):
        return "any"
    for multiple in (_STEP, step):
        if _runs(backbone, multiple * math.ceil(_ODD / multiple)) and _runs(backbone, multiple * 3):
            return f"multiple_of:{multiple}"
    return "fixed"


def _places(net: nn.Module) -> Iterator[str]:
    known = {info["module"] for info in getattr(net, "feature_info", None) or ()} - {""}
    for path, module in net.named_modules():
        parent, _, last = path.rpartition(".")
        beside = any(p.rpartition(".")[0] == parent and p != path for p in known)
        is_block = last.isdigit() and parent and beside and any(True for _ in module.children())
        if path in known or is_block:
            yield path


def _outputs(
    backbone: TimmBackbone, paths: Sequence[str], size: Sequence[int]
) -> dict[str, torch.Size]:
    """Return the shape of what each place gives; places that give something else are absent."""
    found: dict[str, torch.Size] = {}

    def note(path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                found[path] = output.shape

        return hook

    hooks = [backbone.net.get_submodule(p).register_forward_hook(note(p)) for p in paths]
    try:
        _forward(backbone, size)
    except Exception as error:  # each architecture has its own way to fail
        text = " ".join(str(error).split())[:160] or type(error).__name__
        raise ValueError(f"{text} (at {' x '.join(map(str, size))})") from error
    finally:
        for handle in hooks:
            handle.remove()
    return found


def _forward(backbone: TimmBackbone, size: Sequence[int]) -> None:
    device = next(backbone.parameters()).device
    channels = backbone.net.pretrained_cfg["input_size"][0]
    with torch.no_grad(), _no_norms(backbone) if device.type == "meta" else nullcontext():
        backbone(torch.zeros(1, channels, *size, device=device))


@contextmanager
def _no_norms(backbone: nn.Module) -> Iterator[None]:
    """Leave norms out, which change no shape and without values take half of a forward."""
    norms = [m for m in backbone.modules() if isinstance(m, _NORMS)]
    for norm in norms:
        norm.forward = nn.Identity().forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _runs(backbone: TimmBackbone, side: int) -> bool:
    try:
        _forward(backbone, (side, side))
    except Exception:  # noqa: BLE001 - each architecture has its own way to fail
        return False
    return True


def _place(shape: torch.Size | None, backbone: TimmBackbone, size: Sequence[int]) -> _Place | None:
    if shape is None or len(shape) not in (3, 4):
        return None
    if len(shape) == 3:
        return _tokens(shape, backbone, size)
    first, last = (_unevenness(cells, size) for cells in (shape[2:], shape[1:3]))
    channels_last = backbone.channels_last if first == last else last < first
    if channels_last:
        return _Place("channels_last", shape[3], shape[1])
    return _Place("grid", shape[1], shape[2])


def _unevenness(cells: Sequence[int], size: Sequence[int]) -> float:
    """Return how far the strides along both axes differ; 1 where they are equal."""
    strides = [pixels / count for pixels, count in zip(size, cells, strict=True)]
    return round(max(strides) / min(strides), 3)


def _tokens(shape: torch.Size, backbone: TimmBackbone, size: Sequence[int]) -> _Place | None:
    for prefix in dict.fromkeys((backbone.prefix_tokens, 0, 1)):
        rows = math.sqrt((shape[1] - prefix) * size[0] / size[1]) if shape[1] > prefix else 0.5
        if rows.is_integer():
            return _Place("tokens", shape[2], rows, prefix)
    return None


def _stage(path: str, place: _Place, size: Sequence[int]) -> Stage:
    stride = max(1, round(size[0] / place.cells))
    # Convolutions without padding lose pixels at the border: no stride describes that.
    exact = abs(size[0] / place.cells / stride - 1) < _EXACT
    return Stage(
        name=path,
        module_path=INNER + path,
        feature_dim=place.width,
        stride=stride if exact else 0,
        layout=place.layout,
        prefix_tokens=place.prefix,
    )
