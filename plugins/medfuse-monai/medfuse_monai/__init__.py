"""Describe: 2D and 3D networks of MONAI, such as ``monai:resnet18_3d.medicalnet``."""

from __future__ import annotations

from collections.abc import Iterator

from medfuse.contract import BackboneFamilySpec, hookimpl

PLAIN_NAMES = {
    "resnet10_3d": "resnet10_3d.medicalnet",
    "resnet18_3d": "resnet18_3d.medicalnet",
    "resnet34_3d": "resnet34_3d.medicalnet",
    "resnet50_3d": "resnet50_3d.medicalnet",
    "densenet121_3d": "densenet121_3d",
    "seresnet50_3d": "seresnet50_3d",
    "vit_3d": "vit_3d",
    "swin_3d": "swin_3d",
}


@hookimpl
def medfuse_backbones() -> Iterator[BackboneFamilySpec]:
    """Yield the family ``monai``."""
    yield BackboneFamilySpec(
        name="monai",
        summary="2D and 3D networks of MONAI; 3D ResNets with MedicalNet's weights",
        describe="medfuse_monai.families:describe",
        names="medfuse_monai.families:names",
        requires=("monai",),
        examples=("resnet10", "resnet10_3d", "densenet121", "efficientnet_b0", "seresnet50"),
        plain_names=PLAIN_NAMES,
        measured="medfuse_monai:measured.json",
    )
