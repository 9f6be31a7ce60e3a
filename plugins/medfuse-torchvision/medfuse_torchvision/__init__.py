"""Describe: the image classifiers of torchvision, such as ``torchvision:densenet121``."""

from __future__ import annotations

from collections.abc import Iterator

from medfuse.contract import BackboneFamilySpec, hookimpl


@hookimpl
def medfuse_backbones() -> Iterator[BackboneFamilySpec]:
    """Yield the family ``torchvision``."""
    yield BackboneFamilySpec(
        name="torchvision",
        summary="image classifiers of torchvision, weights by enum",
        describe="medfuse_torchvision.families:describe",
        names="medfuse_torchvision.families:names",
        requires=("torchvision",),
        examples=("squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "resnet18"),
        plain_names={"alexnet": "alexnet.imagenet1k_v1", "googlenet": "googlenet.imagenet1k_v1"},
        measured="medfuse_torchvision:measured.json",
    )
