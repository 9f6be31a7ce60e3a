"""Describe weights of torchvision's architectures that were trained on radiologic images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from medfuse.contract import Normalization, WeightsSpec

_FILES = {
    "resnet50": "ResNet50.pt",
    "densenet121": "DenseNet121.pt",
    "inception_v3": "InceptionV3.pt",
}


def medical_weights(name: str, net: nn.Module, remap: Mapping[str, str]) -> Iterator[WeightsSpec]:
    """Yield RadImageNet's weights, where the architecture has some.

    Their input contract is that of the authors' example for torch: three equal channels of 224
    pixels in [-1, 1]. The files hold the parts of the network by number, as ``nn.Sequential``
    does.

    Args:
        name: of torchvision.
        net: the network, without its classifier.
        remap: of the architecture's other weights.
    """
    if name not in _FILES:
        return
    numbered = {
        f"backbone.{number}.": f"net.{part}."
        for number, (part, _) in enumerate(net.named_children())
    }
    yield WeightsSpec(
        name="radimagenet",
        source_domain="CT, MR and ultrasound",
        training_data=("radimagenet",),
        normalization=Normalization(input_range=(-1.0, 1.0)),
        input_size=(224, 224),
        # The images are for research; of the weights the authors say nothing else.
        license="LicenseRef-research-only",
        hub_id=f"Lab-Rasool/RadImageNet/{_FILES[name]}",
        citation="Mei et al. (2022) RadImageNet, Radiology: Artificial Intelligence 4(5), "
        "doi:10.1148/ryai.210315",
        remap={**remap, **numbered},
    )
