"""Describe: the chest X-ray networks of TorchXRayVision, such as ``xrv:densenet121.nih``."""

from __future__ import annotations

from collections.abc import Iterator

from medfuse.contract import BackboneFamilySpec, hookimpl


@hookimpl
def medfuse_backbones() -> Iterator[BackboneFamilySpec]:
    """Yield the family ``xrv``: ``resnet50`` alone means no chest X-ray network."""
    yield BackboneFamilySpec(
        name="xrv",
        summary="chest X-ray networks of TorchXRayVision; DenseNet-121 with seven sets of weights",
        describe="medfuse_xrv.families:describe",
        names="medfuse_xrv.families:names",
        requires=("torchvision",),
        examples=("densenet121", "resnet50"),
        plain_names={"chest_densenet121": "densenet121.all", "chest_resnet50": "resnet50.all"},
        measured="medfuse_xrv:measured.json",
    )
