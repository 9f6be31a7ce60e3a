"""Describe: the name of a network -> its `BackboneSpec`; torchvision itself is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from medfuse.contract import (
    BackboneSpec,
    Normalization,
    Stage,
    VendoredSource,
    WeightsSpec,
)

_RELEASE = "https://github.com/mlmed/torchxrayvision/releases/download/v1/"
_LIBRARY = "Cohen et al. (2022) TorchXRayVision, MIDL, arXiv:2111.00595"
_LIMITS = "Cohen et al. (2020) On the limits of cross-domain generalization, arXiv:2002.02497"
_DENSENET_STAGES = (
    ("denseblock1", 256, 4),
    ("transition1", 128, 8),
    ("denseblock2", 512, 8),
    ("transition2", 256, 16),
    ("denseblock3", 1024, 16),
    ("transition3", 512, 32),
    ("denseblock4", 1024, 32),
)
_RESNET_STAGES = (
    ("layer1", 256, 4),
    ("layer2", 512, 8),
    ("layer3", 1024, 16),
    ("layer4", 2048, 32),
)

# What the library calls normalization to [-1024, 1024] is done inside the source.
_CHEST = WeightsSpec(
    name="chest",
    source_domain="chest radiographs",
    normalization=Normalization(input_range=(-1024.0, 1024.0)),
    license="Apache-2.0",
)


@dataclass(frozen=True)
class _Set:
    """One set of DenseNet weights.

    Attributes:
        file: beginning of its name in the release.
        data: identifiers of what it was trained on.
        sha256: of the file, where it is known. The release names none; this is the digest that
            public projects state which load the file.
    """

    file: str
    data: tuple[str, ...]
    sha256: str | None = None


_DENSENETS: Mapping[str, _Set] = {
    "all": _Set(
        "nih-pc-chex-mimic_ch-google-openi-kaggle",
        (
            "nih-chestxray14",
            "padchest",
            "chexpert",
            "mimic-cxr",
            "nih-google",
            "openi",
            "rsna-pneumonia",
        ),
        "56524913dd16a906422e8d8b66a7a5c46be1d82eb7ac012d8103776f1aa68899",
    ),
    "nih": _Set("nih", ("nih-chestxray14",)),
    "pc": _Set("pc", ("padchest",)),
    "chex": _Set("chex", ("chexpert",)),
    "mimic_nb": _Set("mimic_nb", ("mimic-cxr",)),
    "mimic_ch": _Set(
        "mimic_ch",
        ("mimic-cxr",),
        "23b13a04459684ffa41247d068207a7657b4e1b4dec2b02431f5026bd75b1189",
    ),
    "rsna": _Set("kaggle", ("rsna-pneumonia",)),
}


def names() -> tuple[str, ...]:
    """Return the names of both networks."""
    return ("densenet121", "resnet50")


def describe(name: str) -> BackboneSpec:
    """Return the description of a network.

    Raises:
        KeyError: there is no such name.
    """
    return {"densenet121": _densenet, "resnet50": _resnet}[name]()


def _densenet() -> BackboneSpec:
    return BackboneSpec(
        name="densenet121",
        summary="DenseNet-121 of TorchXRayVision, gray chest X-rays at 224 pixels",
        factory="medfuse_xrv.network:XrvDenseNet",
        stem="net.features.conv0",
        stages=tuple(
            Stage(name=n, module_path=f"net.features.{n}", feature_dim=f, stride=s)
            for n, f, s in _DENSENET_STAGES
        ),
        weights=tuple(_densenet_weights(name, one) for name, one in _DENSENETS.items()),
        in_channels=1,
        requires=("torchvision",),
        export=_export(),
    )


def _resnet() -> BackboneSpec:
    return BackboneSpec(
        name="resnet50",
        summary="ResNet-50 of TorchXRayVision, gray chest X-rays at 512 pixels",
        factory="medfuse_xrv.network:XrvResNet",
        stem="net.conv1",
        stages=tuple(
            Stage(name=n, module_path=f"net.{n}", feature_dim=f, stride=s)
            for n, f, s in _RESNET_STAGES
        ),
        weights=(_resnet_weights(),),
        in_channels=1,
        requires=("torchvision",),
        export=_export(),
    )


def _densenet_weights(name: str, one: _Set) -> WeightsSpec:
    return replace(
        _CHEST,
        name=name,
        training_data=one.data,
        input_size=(224, 224),
        url=f"{_RELEASE}{one.file}-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
        sha256=one.sha256,
        citation=f"{_LIMITS}; {_LIBRARY}",
        remap={"": "net.", "classifier.": "-", "op_threshs": "-"},
    )


def _resnet_weights() -> WeightsSpec:
    # The file holds torchvision's keys; the state dict of the library's class puts a prefix before.
    prefixes = {"": "net.", "fc.": "-", "model.": "net.", "model.fc.": "-", "op_threshs": "-"}
    return replace(
        _CHEST,
        name="all",
        training_data=(
            "padchest",
            "nih-chestxray14",
            "rsna-pneumonia",
            "siim-acr-pneumothorax",
            "vindr-cxr",
        ),
        input_size=(512, 512),
        url=f"{_RELEASE}pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt",
        citation=_LIBRARY,
        remap=prefixes,
    )


def _export() -> VendoredSource:
    return VendoredSource(
        modules=("medfuse_xrv.network",),
        allowed_imports=("torch", "torchvision"),
        requires=("torchvision",),
    )
