"""Describe: 2D and 3D networks of MONAI, such as ``monai:resnet18_3d.medicalnet``."""

from __future__ import annotations

from collections.abc import Iterator

from medfuse.contract import BackboneFamilySpec, hookimpl


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
    )
