"""Describe: the name of a timm architecture -> its `BackboneSpec`, with no weights loaded."""

from __future__ import annotations

from collections.abc import Iterator

import timm
import torch
from torch import nn

from medfuse.contract import BackboneSpec, Option, Stage, VendoredSource
from medfuse_timm.network import TimmBackbone
from medfuse_timm.tags import weights_of

_INNER = "net."


def names() -> tuple[str, ...]:
    """Return every architecture name of timm."""
    return tuple(timm.list_models())


def describe(name: str) -> BackboneSpec:
    """Return what timm says of an architecture; it is built without memory for its parameters.

    Raises:
        KeyError: timm has no such architecture.
    """
    if not timm.is_model(name):
        raise KeyError(name)
    backbone = _without_memory(name)
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
        stem=_INNER + stem if stem else "",
        stages=tuple(_stages(backbone)),
        native_pooling=True,
        weights=weights_of(name, dict(config)),
        open_options=True,
    )


def _without_memory(name: str) -> TimmBackbone:
    try:
        with torch.device("meta"):
            return TimmBackbone(name)
    except (NotImplementedError, RuntimeError):  # its constructor reads values of tensors
        with torch.random.fork_rng(devices=()):
            return TimmBackbone(name)


def _options(name: str, net: nn.Module) -> tuple[Option, ...]:
    model = Option(name="model", kind="str", default=name, choices=(name,), summary="timm's name")
    if not hasattr(getattr(net, "patch_embed", None), "img_size"):
        return (model,)
    return (model, Option(name="img_size", kind="list", summary="image size the network is for"))


def _stages(backbone: TimmBackbone) -> Iterator[Stage]:
    """Yield the places that timm names, and the blocks between them, from input to output."""
    known = {info["module"]: info for info in getattr(backbone.net, "feature_info", None) or ()}
    layout = "channels_last" if backbone.channels_last else "grid"
    layout = "tokens" if hasattr(backbone.net, "num_prefix_tokens") else layout
    for path, module in backbone.net.named_modules():
        parent, _, last = path.rpartition(".")
        beside = any(p.rpartition(".")[0] == parent and p != path for p in known)
        is_block = last.isdigit() and parent and beside and any(True for _ in module.children())
        if path in known or is_block:
            info = known.get(path, {})
            yield Stage(
                name=path,
                module_path=_INNER + path,
                feature_dim=int(info.get("num_chs", 0)),
                stride=int(info.get("reduction", 0)),
                layout=layout,  # type: ignore[arg-type]
                prefix_tokens=backbone.prefix_tokens if layout == "tokens" else 0,
            )
