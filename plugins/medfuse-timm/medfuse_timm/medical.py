"""Describe weights of timm's architectures that were trained on biomedical images."""

from __future__ import annotations

from collections.abc import Iterator

from medfuse.contract import Normalization, WeightsSpec

_CLIP = Normalization(
    mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)
)


def medical_weights(name: str) -> Iterator[WeightsSpec]:
    """Yield BiomedCLIP's image tower, where the architecture is its own.

    The file is a whole model of OpenCLIP; what is not below ``visual.trunk.`` is left out.
    """
    if name != "vit_base_patch16_224":
        return
    yield WeightsSpec(
        name="biomedclip",
        source_domain="figures of biomedical articles",
        training_data=("pmc-15m",),
        normalization=_CLIP,
        input_size=(224, 224),
        size_policy="fixed",
        interpolation="bicubic",
        license="MIT",
        hub_id="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224/"
        "open_clip_pytorch_model.bin",
        citation="Zhang et al. (2023) BiomedCLIP, arXiv:2303.00915",
        remap={"": "-", "visual.trunk.": "net."},
    )
