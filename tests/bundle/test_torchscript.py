"""A traced network has three methods of one pass, and nothing passes for equal that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medfuse.bundle.torchscript import largest_difference, write_torchscript
from medfuse.errors import BundleError
from medfuse.exporters.quiet import quiet_torchscript


class _Network(nn.Module):
    """Features are the mean colors of its images, as many as there are inputs."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(3 * inputs, 2)

    def features(self, *images: Tensor) -> Tensor:
        return torch.cat([x.nan_to_num().mean((2, 3)) for x in images], dim=1)

    def forward(self, *images: Tensor) -> Tensor:
        return self.head(self.features(*images))

    def with_features(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        return self(*images), self.features(*images)


@pytest.mark.parametrize("inputs", [1, 2])
def test_each_method_gives_what_the_network_gives_for_any_batch(
    inputs: int, tmp_path: Path
) -> None:
    network = _Network(inputs).eval()
    path = tmp_path / "model.ts"
    example = tuple(torch.rand(2, 3, 4, 4) for _ in range(inputs))
    assert write_torchscript(network, example, path, {"a.json": {}}) < 1e-6
    with quiet_torchscript():
        loaded = torch.jit.load(path)
    images = tuple(torch.rand(5, 3, 4, 4) for _ in range(inputs))
    torch.testing.assert_close(loaded(*images), network(*images))
    torch.testing.assert_close(loaded.features(*images), network.features(*images))
    torch.testing.assert_close(loaded.with_features(*images), network.with_features(*images))


def test_the_three_methods_take_arguments_of_the_same_names(tmp_path: Path) -> None:
    class Named(_Network):
        def with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return super().with_features(image)

    network, image = Named(1).eval(), torch.rand(2, 3, 4, 4)
    write_torchscript(network, (image,), tmp_path / "model.ts", {})
    with quiet_torchscript():
        loaded = torch.jit.load(tmp_path / "model.ts")
    torch.testing.assert_close(loaded(image=image), network(image))
    torch.testing.assert_close(loaded.features(image=image), network.features(image))
    torch.testing.assert_close(loaded.with_features(image=image)[0], network(image))


class _SpoilsFeatures(_Network):
    """Its logits stay right."""

    def with_features(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = super().with_features(*images)
        return logits, features + 0.1


def test_features_that_differ_alone_are_refused() -> None:
    network = _Network(1).eval()
    other = _SpoilsFeatures(1).eval()
    other.load_state_dict(network.state_dict())
    with pytest.raises(BundleError, match=r"differs from the trained network by 0\.1"):
        largest_difference(network, other, (torch.rand(2, 3, 4, 4),), "m.ts")


class _Spoils(_Network):
    def __init__(self, network: _Network, batch: int, value: float) -> None:
        super().__init__(1)
        self.head = network.head
        self.batch, self.value = batch, value

    def features(self, *images: Tensor) -> Tensor:
        told = super().features(*images)
        return told + self.value if len(told) == self.batch else told


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.1])
def test_one_batch_that_differs_or_is_no_number_is_refused(batch: int, value: float) -> None:
    network = _Network(1).eval()
    example = (torch.rand(2, 3, 4, 4),)
    assert largest_difference(network, network, example, "m.ts") == 0
    with pytest.raises(BundleError, match="differs from the trained network by"):
        largest_difference(network, _Spoils(network, batch, value), example, "m.ts")
