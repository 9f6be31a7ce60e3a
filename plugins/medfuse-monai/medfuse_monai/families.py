"""Describe: the name of an architecture -> its `BackboneSpec`; MONAI itself is not imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from medfuse.contract import (
    BackboneSpec,
    Normalization,
    Option,
    Stage,
    VendoredSource,
    WeightsSpec,
)

_3D = "_3d"
_EFFICIENTNET_BLOCKS = tuple(f"_blocks.{index}" for index in range(7))
_DENSENET_BLOCKS = tuple(
    f"features.{part}" for n in range(1, 4) for part in (f"denseblock{n}", f"transition{n}")
)
_LAYERS = ("layer1", "layer2", "layer3", "layer4")
_SWIN_LAYERS = tuple(f"layers{number}.0" for number in range(1, 5))
_OF_EINOPS = ("MonaiViT", "MonaiSwin")
_VIT_PATCH = 16
_VIT_SIZE = {2: 224, 3: 96}
_MEDICALNET = "Chen, Ma, Zheng (2019) Med3D: transfer learning for 3D medical image analysis"


@dataclass(frozen=True)
class _Architecture:
    """How one name maps to MONAI's."""

    wrapper: str
    model: str
    stem: str
    stages: tuple[str, ...]
    classifier: str
    options: dict[str, Any] = field(default_factory=dict)
    layout: Literal["grid", "tokens"] = "grid"


def names() -> tuple[str, ...]:
    """Return every name; those of 3D networks end in ``_3d``."""
    return tuple(name + suffix for name in _table() for suffix in ("", _3D))


def describe(name: str) -> BackboneSpec:
    """Return the description of a network: 2D with three channels, 3D with one.

    Raises:
        KeyError: there is no such name.
    """
    spatial_dims: Literal[2, 3] = 3 if name.endswith(_3D) else 2
    architecture = _table()[name.removesuffix(_3D)]
    channels = 1 if spatial_dims == 3 else 3
    requires = ("monai", "einops") if architecture.wrapper in _OF_EINOPS else ("monai",)
    return BackboneSpec(
        name=name,
        summary=f"{architecture.model} of MONAI, {spatial_dims}D",
        factory=f"medfuse_monai.network:{architecture.wrapper}",
        options=tuple(_options(architecture, spatial_dims, channels)),
        requires=requires,
        export=VendoredSource(
            modules=("medfuse_monai.network",),
            allowed_imports=("torch", "monai"),
            requires=requires,
        ),
        spatial_dims=spatial_dims,
        in_channels=channels,
        stem=f"net.{architecture.stem}",
        stages=tuple(_stage(name, architecture) for name in architecture.stages),
        weights=tuple(_weights(architecture, spatial_dims)),
        open_options=True,
    )


def _table() -> dict[str, _Architecture]:
    table = {f"resnet{depth}": _resnet(depth) for depth in (10, 18, 34, 50)}
    for depth in (121, 169, 201):
        stages = (*_DENSENET_BLOCKS, "features.denseblock4")
        table[f"densenet{depth}"] = _Architecture(
            "MonaiDenseNet", f"DenseNet{depth}", "features.conv0", stages, "class_layers."
        )
    table["seresnet50"] = _Architecture(
        "MonaiSEResNet", "SEResNet50", "layer0.conv1", ("layer0", *_LAYERS), "last_linear."
    )
    for number in range(8):
        model = f"efficientnet-b{number}"
        table[f"efficientnet_b{number}"] = _Architecture(
            "MonaiEfficientNet", model, "_conv_stem", _EFFICIENTNET_BLOCKS, "_fc."
        )
    blocks = tuple(f"blocks.{index}" for index in range(12))
    embedding = "patch_embedding.patch_embeddings"
    table["vit"] = _Architecture(
        "MonaiViT", "ViT", embedding, blocks, "classification_head.", layout="tokens"
    )
    swin = ("patch_embed", *_SWIN_LAYERS)
    table["swin"] = _Architecture("MonaiSwin", "SwinTransformer", "patch_embed.proj", swin, "")
    return table


def _stage(name: str, architecture: _Architecture) -> Stage:
    stride = _VIT_PATCH if architecture.layout == "tokens" else 0
    return Stage(name=name, module_path=f"net.{name}", stride=stride, layout=architecture.layout)


def _resnet(depth: int) -> _Architecture:
    """Return the form that MedicalNet's weights are for, as MONAI found by testing."""
    plain = depth in (18, 34)
    options = {"shortcut_type": "A" if plain else "B", "bias_downsample": plain}
    return _Architecture("MonaiResNet", f"resnet{depth}", "conv1", _LAYERS, "fc.", options)


def _options(architecture: _Architecture, spatial_dims: int, channels: int) -> Iterator[Option]:
    model, dims = architecture.model, spatial_dims
    yield Option(name="model", kind="str", default=model, choices=(model,), summary="MONAI's name")
    yield Option(name="spatial_dims", kind="int", default=dims, choices=(dims,), summary="2 or 3")
    yield Option(name="in_channels", kind="int", default=channels, choices=(channels,))
    for name, value in architecture.options.items():
        kind: Literal["bool", "str"] = "bool" if isinstance(value, bool) else "str"
        yield Option(name=name, kind=kind, default=value, summary="as in MedicalNet")
    if architecture.wrapper == "MonaiViT":
        yield Option(name="img_size", kind="list", summary="image size the network is for")


def _weights(architecture: _Architecture, spatial_dims: int) -> Iterator[WeightsSpec]:
    """Yield MedicalNet's weights where they exist, then the contract of files of one's own."""
    remap = {"": "net."} | ({architecture.classifier: "-"} if architecture.classifier else {})
    if architecture.wrapper == "MonaiResNet" and spatial_dims == 3:
        depth = architecture.model.removeprefix("resnet")
        yield WeightsSpec(
            name="medicalnet",
            source_domain="CT and MR volumes",
            training_data=("3dseg-8",),
            normalization=Normalization(scheme="per_image"),
            input_size=(),
            interpolation="trilinear",
            license="MIT",
            hub_id=f"TencentMedicalNet/MedicalNet-Resnet{depth}/resnet_{depth}_23dataset.pth",
            citation=_MEDICALNET,
            remap={"module.": "net.", "module.fc.": "-", "module.conv_seg.": "-", **remap},
        )
    interpolation: Literal["trilinear", "bilinear"] = (
        "trilinear" if spatial_dims == 3 else "bilinear"
    )
    fixed = architecture.wrapper == "MonaiViT"
    yield WeightsSpec(
        name="untagged",
        input_size=(_VIT_SIZE[spatial_dims],) * spatial_dims if fixed else (),
        size_policy="fixed" if fixed else "any",
        interpolation=interpolation,
        remap=remap,
    )
