"""Describe: the name of a torchvision classifier -> its `BackboneSpec`, with no weights loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from torchvision import models

from medfuse.contract import (
    BackboneSpec,
    Normalization,
    Option,
    Stage,
    VendoredSource,
    WeightsSpec,
)
from medfuse_torchvision.medical import medical_weights
from medfuse_torchvision.network import TorchvisionBackbone

_CONTAINERS = ("features", "layers", "blocks", "trunk_output")
_FIXED_SIZE = (models.VisionTransformer, models.MaxVit)
# Their own `transform_input` turns torchvision's normalization into this one.
_CENTERED = Normalization(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_CITATION = "TorchVision maintainers and contributors (2016), github.com/pytorch/vision"


def names() -> tuple[str, ...]:
    """Return every classifier of torchvision."""
    return tuple(models.list_models(module=models))


def describe(name: str) -> BackboneSpec:
    """Return what torchvision says of a classifier; no memory is taken for its parameters.

    Raises:
        KeyError: torchvision has no such classifier.
    """
    if name not in names():
        raise KeyError(name)
    backbone = _without_memory(name)
    fixed = isinstance(backbone.net, _FIXED_SIZE)
    convolutions = [n for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d)]
    model = Option(name="model", kind="str", default=name, choices=(name,), summary="the builder")
    size = Option(name="img_size", kind="list", summary="image size the network is for")
    return BackboneSpec(
        name=name,
        summary=f"{type(backbone.net).__name__} of torchvision",
        factory="medfuse_torchvision.network:TorchvisionBackbone",
        options=(model, size) if fixed else (model,),
        requires=("torchvision",),
        export=VendoredSource(
            modules=("medfuse_torchvision.network",),
            allowed_imports=("torch", "torchvision"),
            requires=("torchvision",),
        ),
        stem=convolutions[0],
        stages=tuple(_stages(backbone)),
        native_pooling=backbone.pools,
        weights=tuple(_weights(name, backbone, "fixed" if fixed else "any")),
        open_options=True,
    )


def _without_memory(name: str) -> TorchvisionBackbone:
    try:
        with torch.device("meta"):
            return TorchvisionBackbone(name)
    except (NotImplementedError, RuntimeError):  # its constructor reads values of tensors
        with torch.random.fork_rng(devices=()):
            return TorchvisionBackbone(name)


def _stages(backbone: TorchvisionBackbone) -> Iterator[Stage]:
    for path, module in _places(backbone):
        is_block = any(True for _ in module.children()) or isinstance(module, nn.MaxPool2d)
        if is_block:
            yield Stage(
                name=path,
                module_path=f"net.{path}",
                layout=_layout(backbone.net),
                prefix_tokens=int(backbone.is_tokens),
            )


def _places(backbone: TorchvisionBackbone) -> Iterator[tuple[str, nn.Module]]:
    if backbone.is_tokens:
        layers = backbone.net.encoder.layers.named_children()
        yield from ((f"encoder.layers.{name}", module) for name, module in layers)
        return
    for step in backbone.steps:
        module = getattr(backbone.net, step)
        if step in _CONTAINERS:
            yield from ((f"{step}.{name}", child) for name, child in module.named_children())
        else:
            yield step, module


def _layout(net: nn.Module) -> Literal["grid", "channels_last", "tokens"]:
    if isinstance(net, models.VisionTransformer):
        return "tokens"
    return "channels_last" if isinstance(net, models.SwinTransformer) else "grid"


def _weights(name: str, backbone: TorchvisionBackbone, policy: str) -> Iterator[WeightsSpec]:
    """Yield the default weights, the others, and the short names of the default ones."""
    enum = models.get_model_weights(name)
    default = enum["DEFAULT"]
    remap = _remap(backbone)
    own = _CENTERED if name in ("googlenet", "inception_v3") else None
    ordered = sorted(enum, key=lambda entry: entry is not default)
    weights = [_one(entry, remap, policy, own) for entry in ordered]
    yield from weights
    yield replace(weights[0], name="default")
    yield replace(weights[0], name="imagenet1k")
    yield from medical_weights(name, backbone.net, remap)


def _one(
    entry: Any, remap: Mapping[str, str], policy: str, own: Normalization | None
) -> WeightsSpec:
    transforms = entry.transforms()
    swag = "SWAG" in entry.name
    usual = Normalization(mean=tuple(transforms.mean), std=tuple(transforms.std))
    crop, resized = transforms.crop_size[0], transforms.resize_size[0]
    return WeightsSpec(
        name=entry.name.lower(),
        source_domain="natural images",
        training_data=("instagram3.6b", "imagenet1k") if swag else ("imagenet1k",),
        normalization=own or usual,
        input_size=(crop, crop),
        size_policy=policy,
        interpolation=transforms.interpolation.value,
        crop_pct=round(crop / resized, 3),
        license="CC-BY-NC-4.0" if swag else "BSD-3-Clause",
        url=entry.url,
        citation=_CITATION,
        remap=remap,
    )


def _remap(backbone: TorchvisionBackbone) -> dict[str, str]:
    """Put the keys below the wrapper's ``net``; leave out classifiers; rename old DenseNet keys."""
    dropped = (backbone.last, "aux1", "aux2", "AuxLogits")
    remap = {"": "net.", **{f"{name}.": "-" for name in dropped}}
    if backbone.is_densenet:
        for path, module in backbone.net.named_modules():
            if hasattr(module, "norm1"):
                for part in ("norm", "conv"):
                    for number in "12":
                        remap[f"{path}.{part}.{number}."] = f"net.{path}.{part}{number}."
    return remap
