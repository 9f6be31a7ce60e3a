"""Describe: every timm model that gives a feature map, such as ``timm:resnet18.a1_in1k``."""

from __future__ import annotations

from collections.abc import Iterator

from medfuse.contract import BackboneFamilySpec, hookimpl
from medfuse_timm.plain_names import PLAIN_NAMES


@hookimpl
def medfuse_backbones() -> Iterator[BackboneFamilySpec]:
    """Yield the family ``timm``."""
    yield BackboneFamilySpec(
        name="timm",
        summary="PyTorch image models: more than 1000 architectures, weights by tag",
        describe="medfuse_timm.families:describe",
        names="medfuse_timm.families:names",
        requires=("timm",),
        examples=("test_resnet", "test_vit", "test_convnext", "test_efficientnet"),
        plain_names=PLAIN_NAMES,
        measured="medfuse_timm:measured.json",
    )
