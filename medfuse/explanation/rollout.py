"""Attention rollout: where the attention of a vision transformer comes from, through all blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.explanation.reading import backbone_of
from medfuse.explanation.view import Images, as_inputs, seeing, source_names

_INNER = ("attn_drop", "drop_weights")  # what timm's and MONAI's blocks hand the attention to
_AT_ONCE = 16


class AttentionExplainer:
    """Attention rollout (Abnar and Zuidema 2020, doi 10.18653/v1/2020.acl-main.385) of every ViT.

    The attention of each block, averaged over its heads and mixed half and half with the identity
    for the residual, is multiplied through all blocks; the row of the class token, or the mean of
    all rows where there is none, is laid on the grid of the patches. It does not depend on the
    class: it shows what was looked at, not what for. Sources that are no ViT are left out, and
    those whose attention stays within windows (Swin).

    Args:
        network: a `medfuse.model.FusedNetwork`.
    """

    additive = False

    def __init__(self, network: nn.Module) -> None:
        self.network: Any = network

    def __call__(self, image: Images, class_index: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``{source: saliency (*spatial)}``."""
        images = as_inputs(image)
        names = source_names(self.network)
        found = {}
        for position in seeing(self.network, images):
            source = self.network.sources[position]
            saliency = self._of(source, images[self.network.inputs[position]])
            if saliency is not None:
                found[names[position]] = saliency
        return found

    def _of(self, source: Any, image: Tensor) -> Tensor | None:
        slices = getattr(source, "slices", 0)
        plain = source.source if slices else source
        each = image[0].movedim(-1, 0) if slices else image
        maps: list[Tensor] = []
        for part in torch.split(each, _AT_ONCE):
            found = _rolled_out(plain, part)
            if found is None:
                return None
            maps.append(found)
        stacked = torch.cat(maps)
        return stacked.movedim(0, -1) if slices else stacked[0]


def _rolled_out(source: nn.Module, image: Tensor) -> Tensor | None:
    """Return ``(N, *spatial)``, or ``None`` if no block attends to all patches."""
    kept: list[Tensor] = []
    with _attention_of(backbone_of(source), kept), torch.no_grad():
        source(image)
    sides = {one.shape[-1] for one in kept}
    if not kept or len(sides) > 1 or len(kept[0]) != len(image):
        return None
    eye = torch.eye(sides.pop(), device=image.device)
    flow = eye
    for one in kept:
        flow = (0.5 * one + 0.5 * eye) @ flow
    return _on_the_grid(flow, image)


def _on_the_grid(flow: Tensor, image: Tensor) -> Tensor | None:
    size = image.shape[2:]
    tokens = flow.shape[-1]
    for prefix in range(17):
        stride = (math.prod(size) / max(tokens - prefix, 1)) ** (1 / len(size))
        grid = [round(side / stride) for side in size]
        if math.prod(grid) == tokens - prefix:
            row = flow[:, 0] if prefix else flow.mean(1)
            patches = row[:, prefix:].reshape(len(image), 1, *grid)
            mode = "bilinear" if len(size) == 2 else "trilinear"
            return F.interpolate(patches, size, mode=mode)[:, 0]
    return None


@contextmanager
def _attention_of(backbone: nn.Module, kept: list[Tensor]) -> Iterator[None]:
    """Keep the attention ``(N, T, T)`` of each block, in order, while the block runs."""
    undo: list[Any] = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            undo.append(module.register_forward_pre_hook(_ask, with_kwargs=True).remove)
            undo.append(module.register_forward_hook(partial(_answer, kept)).remove)
        elif name.rpartition(".")[2] in _INNER:
            undo.append(module.register_forward_pre_hook(partial(_taken, kept)).remove)
        elif getattr(module, "fused_attn", None) is True:
            block: Any = module
            block.fused_attn = False
            undo.append(partial(setattr, block, "fused_attn", True))
    try:
        yield
    finally:
        for one in undo:
            one()


def _ask(_: nn.Module, positional: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return positional, {**named, "need_weights": True, "average_attn_weights": True}


def _answer(kept: list[Tensor], _: nn.Module, __: Any, output: Any) -> None:
    kept.append(output[1].detach())


def _taken(kept: list[Tensor], _: nn.Module, given: Any) -> None:
    if given[0].ndim == 4:
        kept.append(given[0].detach().mean(1))


def attention_rollout(network: nn.Module) -> AttentionExplainer:
    """Return the explainer ``attention``."""
    return AttentionExplainer(network)
