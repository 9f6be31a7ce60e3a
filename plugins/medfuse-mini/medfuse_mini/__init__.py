"""Describe: two small sources with embedded weights, ``mini:resnet`` and ``mini:densenet``.

Both take one gray channel at any size; their weights were trained at 128 pixels by this project,
by distilling two ImageNet networks. The card is the package's README.
"""

from __future__ import annotations

from collections.abc import Iterator

from medfuse.contract import (
    BackboneSpec,
    Normalization,
    Stage,
    VendoredSource,
    WeightsSpec,
    hookimpl,
)

SHA256 = {
    "densenet.distilled": "9f7e165fcf60670ac2e5b976be521e59a4a0c65825c3e789cadeb1236ebf1b30",
    "resnet.distilled": "3c8b16703bc6a13b5be390fb83244383284f2dac4ab8f0cc5167f44648efb07a",
}
TEACHERS = "Distilled by the medfuse developers from MobileNetV1 and MobileNetV2 of Keras "
_DENSENET_STAGES = (
    ("denseblock1", 96, 4),
    ("denseblock2", 112, 8),
    ("denseblock3", 184, 16),
    ("norm5", 220, 32),
)
_RESNET_STAGES = (("layer1", 24, 4), ("layer2", 48, 8), ("layer3", 112, 16), ("layer4", 256, 32))


@hookimpl
def medfuse_backbones() -> Iterator[BackboneSpec]:
    """Yield the embedded networks."""
    yield BackboneSpec(
        name="resnet",
        summary="thin ResNet-10 with a deep stem, gray, 1.1 million weights; distilled, embedded",
        factory="medfuse_mini.network:MiniResNet",
        stem="network.conv1.0",
        stages=tuple(
            Stage(name=n, module_path=f"network.{n}", feature_dim=f, stride=s)
            for n, f, s in _RESNET_STAGES
        ),
        weights=(_distilled("resnet"),),
        in_channels=1,
        native_pooling=True,
        levels=1,  # its own vector holds the means of three stages already
        requires=("timm",),
        export=_export(),
        measured="medfuse_mini:measured.json",
    )
    yield BackboneSpec(
        name="densenet",
        summary="short DenseNet, gray, 0.6 million weights; distilled, embedded",
        factory="medfuse_mini.network:MiniDenseNet",
        stem="network.features.conv0",
        stages=tuple(
            Stage(name=n, module_path=f"network.features.{n}", feature_dim=f, stride=s)
            for n, f, s in _DENSENET_STAGES
        ),
        weights=(_distilled("densenet"),),
        in_channels=1,
        native_pooling=True,
        levels=1,  # its own vector holds the means of three stages already
        requires=("timm",),
        export=_export(),
        measured="medfuse_mini:measured.json",
    )


def _distilled(network: str) -> WeightsSpec:
    """Trained on generated images and the training part of PneumoniaMNIST (CC BY 4.0)."""
    name = f"{network}.distilled"
    return WeightsSpec(
        name="distilled",
        source_domain="generated textures and phantoms, chest radiographs",
        training_data=("pneumoniamnist:train", "medfuse-generated"),
        normalization=Normalization(mean=(0.5,), std=(0.25,)),
        input_size=(128, 128),
        license="Apache-2.0 AND CC-BY-4.0",
        sha256=SHA256[name],
        path=f"medfuse_mini:weights/{name}.safetensors",
        citation=f"{TEACHERS}Applications (Apache-2.0); images: MedMNIST v2, Yang et al. 2023, "
        "doi 10.1038/s41597-022-01721-8 (CC BY 4.0), and generated ones.",
        seen="medfuse_mini:seen/pneumoniamnist.txt.gz",
    )


def _export() -> VendoredSource:
    return VendoredSource(
        modules=("medfuse_mini.network",),
        allowed_imports=("torch", "timm"),
        requires=("timm",),
    )
