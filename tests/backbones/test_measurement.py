from __future__ import annotations

import pytest
import torch
from torch import nn

from medfuse.backbones import measurement
from medfuse.backbones.measurement import measure_backbone
from medfuse.contract import BackboneSpec, WeightsSpec
from medfuse.errors import PluginError

PUBLISHED = WeightsSpec(
    name="w", url="https://x/w.pt", input_size=(8, 8), source_domain="X-rays", license="MIT"
)


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.head = nn.Linear(5, 7)

    def forward(self, x):
        y = self.conv(x)
        return y, self.head(y.mean((2, 3)))


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 1, bias=False)

    def forward(self, x):
        return self.conv(x), None


class Reading(Flat):
    def __init__(self) -> None:
        super().__init__()
        self.scale = float(torch.linspace(0, 1, 3)[1])


def measured(monkeypatch, factory, **changes):
    monkeypatch.setattr(measurement, "load_factory", lambda _spec: factory)
    return measure_backbone(BackboneSpec(name="net", summary="s", factory="a:b", **changes))


def test_a_network_is_counted_as_by_hand(monkeypatch) -> None:
    found = measured(monkeypatch, Flat, weights=(PUBLISHED,))
    assert found.parameters == (3 * 5 * 9 + 5) + (5 * 7 + 7)
    assert found.macs == 4 * 4 * 3 * 5 * 9 + 5 * 7
    assert (found.feature_map, found.width) == ((5, 4, 4), 7)


def test_domain_and_license_are_those_of_the_first_weights(monkeypatch) -> None:
    found = measured(monkeypatch, Flat, weights=(PUBLISHED, WeightsSpec(name="other")))
    assert (found.domain, found.license, found.input_size) == ("X-rays", "MIT", (8, 8))


def test_a_contract_for_files_of_ones_own_is_nothing_published(monkeypatch) -> None:
    own = WeightsSpec(name="own", input_size=(8, 8), source_domain="X-rays", license="MIT")
    found = measured(monkeypatch, Flat, weights=(own,))
    assert (found.domain, found.license) == ("", "")


def test_any_size_is_measured_at_a_usual_one(monkeypatch) -> None:
    found = measured(monkeypatch, Deep, spatial_dims=3)
    assert (found.input_size, found.feature_map) == ((96, 96, 96), (4, 96, 96, 96))
    assert (found.width, found.macs) == (4, 96**3 * 12)


def test_a_constructor_that_reads_values_is_built_in_memory(monkeypatch) -> None:
    state = torch.get_rng_state()
    found = measured(monkeypatch, Reading, weights=(PUBLISHED,))
    assert found == measured(monkeypatch, Flat, weights=(PUBLISHED,))
    assert torch.equal(state, torch.get_rng_state())


def test_what_is_no_module_is_named(monkeypatch) -> None:
    with pytest.raises(PluginError, match="net: the factory gave a dict, expected a Module"):
        measured(monkeypatch, dict)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "resnet50", "densenet121", "vit_b_16", "swin_t"])
def test_multiply_adds_are_those_that_torchvision_publishes(name: str) -> None:
    """Billions, to the three decimals published, less the classifier that sources do without."""
    from torchvision.models import get_model, get_model_weights

    from medfuse.registry import load_registry, parse_source

    spec = load_registry().backbone(parse_source(f"torchvision:{name}"))[1]
    with torch.device("meta"):
        whole = get_model(name)
    last = [module for module in whole.modules() if isinstance(module, nn.Linear)][-1]
    published = get_model_weights(name).DEFAULT.meta["_ops"]
    classifier = last.in_features * last.out_features / 1e9
    assert measure_backbone(spec).macs / 1e9 == pytest.approx(published - classifier, abs=6e-4)
