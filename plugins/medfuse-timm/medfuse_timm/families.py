"""Describe: the name of a timm architecture -> its `BackboneSpec`, with no weights loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import timm
import torch
from torch import nn

from medfuse.contract import BackboneSpec, Option, VendoredSource, WeightsSpec
from medfuse_timm.network import TimmBackbone
from medfuse_timm.stages import INNER, size_policy, stages
from medfuse_timm.tags import weights_of


def names() -> tuple[str, ...]:
    """Return every architecture name of timm."""
    return tuple(timm.list_models())


def describe(name: str) -> BackboneSpec:
    """Return what timm says of an architecture; it is built without memory for its parameters.

    Raises:
        KeyError: timm has no such architecture.
        ValueError: it gives several feature maps, or none.
    """
    if not timm.is_model(name):
        raise KeyError(name)
    backbone = _without_memory(name).eval()
    config = backbone.net.pretrained_cfg
    stems = config.get("first_conv") or ""
    stem = stems if isinstance(stems, str) else stems[0]
    return BackboneSpec(
        name=name,
        summary=f"{config.get('architecture') or name} of timm",
        factory="medfuse_timm.network:TimmBackbone",
        options=_options(name, backbone.net),
        requires=("timm",),
        export=VendoredSource(
            modules=("medfuse_timm.network",),
            allowed_imports=("torch", "timm"),
            requires=("timm",),
        ),
        in_channels=config["input_size"][0],
        stem=INNER + stem if stem else "",
        stages=stages(backbone, config["input_size"][1:]),
        native_pooling=True,
        weights=_weights(name, backbone, dict(config)),
        open_options=True,
    )


def _without_memory(name: str) -> TimmBackbone:
    try:
        with torch.device("meta"):
            return TimmBackbone(name)
    except (NotImplementedError, RuntimeError):  # its constructor reads values of tensors
        with torch.random.fork_rng(devices=()):
            return TimmBackbone(name)


def _weights(
    name: str, backbone: TimmBackbone, config: Mapping[str, Any]
) -> tuple[WeightsSpec, ...]:
    """Return the weights; the sizes at which the network runs were tried, not believed."""
    weights = weights_of(name, config)
    if all(one.size_policy == "fixed" for one in weights):
        return weights
    policy = size_policy(backbone)
    return tuple(
        one if one.size_policy == "fixed" else replace(one, size_policy=policy) for one in weights
    )


def _options(name: str, net: nn.Module) -> tuple[Option, ...]:
    model = Option(name="model", kind="str", default=name, choices=(name,), summary="timm's name")
    if not hasattr(getattr(net, "patch_embed", None), "img_size"):
        return (model,)
    return (model, Option(name="img_size", kind="list", summary="image size the network is for"))
