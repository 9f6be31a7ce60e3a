"""Networks of tokens, and how to run one on some of its tokens alone.

Nothing is asked of a network but what its description says: which of its modules give tokens. In
front of the first of them tokens are taken away, behind the last one the others are put back to
their places, so that whatever stands before and behind sees images and maps as ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medfuse.backbones.build import BuiltSource
from medfuse.contract import Stage
from medfuse.errors import ConfigError

_TOLERANCE = 1e-3


@dataclass(frozen=True)
class TokenNetwork:
    """A backbone whose tokens can be hidden.

    Attributes:
        backbone: images to ``(map (N, F, *grid), pooled (N, P) or None)``.
        blocks: its first and its last module that take and give tokens.
        prefix: tokens that stand for no place of the image (class, registers); never hidden.
        grid: tokens along each axis.
        width: F.
        pooled_width: P; 0 where it gives no vector of its own.
    """

    backbone: nn.Module
    blocks: tuple[nn.Module, nn.Module]
    prefix: int
    grid: tuple[int, ...]
    width: int
    pooled_width: int

    @property
    def count(self) -> int:
        """How many tokens stand for a place of the image."""
        return int(torch.Size(self.grid).numel())

    def visible(self, images: Tensor, kept: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return tokens ``(N, K, F)`` of the places that are kept, and the pooled vector.

        Args:
            images: as the backbone takes them.
            kept: ``(N, K)`` places on the flattened grid; the network sees no other.
        """
        with self._hidden(kept):
            found = self.backbone(images)
        tokens = found[0].flatten(2).transpose(1, 2)
        return _at(tokens, kept), found[1] if self.pooled_width else None

    @contextmanager
    def _hidden(self, kept: Tensor) -> Iterator[None]:
        prefix, places = self.prefix, self.prefix + self.count

        def take_away(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            tokens = inputs[0]
            return torch.cat((tokens[:, :prefix], _at(tokens[:, prefix:], kept)), 1), *inputs[1:]

        def put_back(_module: nn.Module, _inputs: Any, tokens: Tensor) -> Tensor:
            whole = tokens.new_zeros(len(tokens), places, tokens.shape[2])
            index = kept.unsqueeze(2).expand(-1, -1, tokens.shape[2])
            rest = whole[:, prefix:].scatter(1, index, tokens[:, prefix:])
            return torch.cat((tokens[:, :prefix], rest), 1)

        first, last = self.blocks
        hooks = [first.register_forward_pre_hook(take_away), last.register_forward_hook(put_back)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def has_tokens(built: BuiltSource) -> bool:
    """Return whether a network describes itself as one of tokens on one grid."""
    stages = built.spec.stages if built.spec else ()
    return bool(stages) and {stage.layout for stage in stages} == {"tokens"}


def token_network(built: BuiltSource, images: Tensor, name: str) -> TokenNetwork:
    """Return a network whose tokens can be hidden, after trying it.

    Args:
        built: the source.
        images: some, as the backbone takes them.
        name: of the backbone, for the error.

    Raises:
        ConfigError: it has no tokens, or does not work with some of them alone: those whose
            layers compare places by a table, or mix all places by fixed weights.
    """
    if not has_tokens(built):
        raise ConfigError(
            f"method: found mae, but {name} has no tokens to hide. Use --method simclr, or a "
            "vision transformer, for example timm:vit_tiny_patch16_224 or monai:vit_3d."
        )
    network = _described(built, images)
    reason = _failure(network, images)
    if reason:
        raise ConfigError(
            f"method: found mae, but {name} does not work on a part of its tokens ({reason}). "
            "Use --method simclr, or a vision transformer with absolute positions."
        )
    return network


def _described(built: BuiltSource, images: Tensor) -> TokenNetwork:
    backbone: Any = built.module.backbone
    modules = dict(backbone.named_modules())
    stages: Sequence[Stage] = built.spec.stages if built.spec else ()
    present = [stage for stage in stages if stage.module_path in modules]
    with torch.no_grad():
        feature_map, pooled = backbone(images)
    return TokenNetwork(
        backbone,
        (modules[present[0].module_path], modules[present[-1].module_path]),
        present[0].prefix_tokens,
        tuple(feature_map.shape[2:]),
        int(feature_map.shape[1]),
        # Without a token of its own the vector is a mean, to which the hidden places belong.
        int(pooled.shape[1]) if pooled is not None and present[0].prefix_tokens else 0,
    )


def _failure(network: TokenNetwork, images: Tensor) -> str:
    """Return why a network cannot work on some tokens; empty if it can.

    With all tokens in another order it must give the same map, since attention knows no order;
    and with some of them it must run at all.
    """
    order = torch.arange(network.count - 1, -1, -1, device=images.device)
    order = order.expand(len(images), -1)
    was = network.backbone.training
    network.backbone.eval()
    try:
        with torch.no_grad():
            exact = network.backbone(images)[0].flatten(2).transpose(1, 2)
            found, _ = network.visible(images, order)
            network.visible(images, order[:, : max(1, network.count // 4)])
    except Exception as error:  # noqa: BLE001 - each architecture has its own way to fail
        return " ".join(str(error).split())[:120] or type(error).__name__
    finally:
        network.backbone.train(was)
    far = (found - _at(exact, order)).abs().max() > _TOLERANCE * exact.abs().max().clamp_min(1)
    return "their order matters to it" if far else ""


def _at(tokens: Tensor, places: Tensor) -> Tensor:
    """Return the tokens ``(N, K, F)`` at places ``(N, K)``."""
    return tokens.gather(1, places.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
