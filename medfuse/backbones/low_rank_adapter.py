"""Low-rank adapters: of a frozen transformer only small matrices beside its weights learn.

Hu et al. 2021, LoRA, arXiv:2106.09685: a weight W becomes W + alpha / rank * B A; B starts at 0
and A at random numbers. Deviations: a projection that holds query, key and value in one matrix
has a pair (A, B) for each of the three, and the output projection of attention learns too.

The adapters are parametrizations of torch. `merged` writes them into the weights, so that what is
stored and exported is the network as its library builds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source, selected_modules
from medfuse.config import AdapterConfig
from medfuse.errors import SourceError

_ATTENTION = ("attn", "attention")
_WEIGHTS = ("weight", "in_proj_weight")
_FUSED = 3  # query, key and value


class LowRankUpdate(nn.Module):
    """``W + scale * B A`` of a weight ``W`` ``(parts * O, I)``, each part with its own pair.

    Args:
        weight: W; gives shape, type and device.
        config: rank and alpha.
        parts: matrices that lie on top of each other in W.
        generator: draws A as torch draws the weights of a linear layer; B is 0.
    """

    def __init__(
        self, weight: Tensor, config: AdapterConfig, parts: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        rows, columns = weight.shape
        bound = math.sqrt(3.0 / columns)
        drawn = torch.rand(parts, config.rank, columns, generator=generator) * (2 * bound) - bound
        self.down = nn.Parameter(drawn.to(weight))
        self.up = nn.Parameter(weight.new_zeros(parts, rows // parts, config.rank))
        self.scale = config.alpha / config.rank

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight."""
        return weight + self.scale * torch.bmm(self.up, self.down).reshape(weight.shape)


class AdaptedSource(Source):
    """A source of which the adapters alone learn, in the parts that `set_trainable` names.

    Batch norms, where a network has any, stay as they are.

    Args:
        source: whose network is adapted in place.
        config: rank, alpha and which layers.
        paths: modules that learn at some time, as of `Source.set_trainable`.
        seed: of the adapters.
    """

    def __init__(
        self, source: Source, config: AdapterConfig, paths: Sequence[str] | str, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module, name in _targets(source.backbone, config, paths):
            weight = getattr(module, name)
            update = LowRankUpdate(weight, config, _parts(weight), generator)
            parametrize.register_parametrization(module, name, update)
        super().__init__(
            source.backbone, source.adapter, source.pooling, source.grid, batch_norm="frozen"
        )
        self.training = source.training

    def set_trainable(self, paths: Sequence[str] | str) -> None:
        """Choose where adapters learn; see `Source.set_trainable`."""
        super().set_trainable(paths)
        own = {id(p) for p in _adapters(self.backbone)}
        for parameter in self.backbone.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in own)


def adapted(
    module: nn.Module, config: AdapterConfig, paths: Sequence[str] | str, seed: int
) -> nn.Module:
    """Return a source, perhaps of slices, with adapters in its network, which is changed in place.

    Raises:
        SourceError: there is no layer to adapt.
    """
    if not isinstance(module, SlicedSource):
        return AdaptedSource(cast("Source", module), config, paths, seed)
    inner = AdaptedSource(cast("Source", module.source), config, paths, seed)
    return SlicedSource(inner, module.slices, module.at_once)


def merged(module: nn.Module) -> nn.Module:
    """Return a module whose adapters are part of its weights, as plain parameters; in place."""
    for part in list(module.modules()):
        for name in list(getattr(part, "parametrizations", ())) if _is_adapted(part) else ():
            parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    return module


def check_adapters(
    backbone: nn.Module, config: AdapterConfig, paths: Sequence[str] | str, where: str
) -> int:
    """Return how many numbers the adapters of a network have.

    Raises:
        SourceError: there is no layer to adapt, naming what the network has.
    """
    found = [getattr(module, name) for module, name in _targets(backbone, config, paths)]
    if not found:
        raise SourceError(f"source {where}: {_nothing(backbone, config)}")
    return sum(
        config.rank * (_parts(weight) * weight.shape[1] + weight.shape[0]) for weight in found
    )


def _targets(
    backbone: nn.Module, config: AdapterConfig, paths: Sequence[str] | str
) -> Iterator[tuple[nn.Module, str]]:
    """Yield the layers to adapt and the names of their weights, in the order of the network."""
    inside = selected_modules(backbone, paths)
    for path, module in list(backbone.named_modules()):
        names = [name for name in _WEIGHTS if _is_matrix(module, name)]
        if path in inside and names and _is_meant(path, module, config):
            yield from ((module, name) for name in names)


def _is_matrix(module: nn.Module, name: str) -> bool:
    known = isinstance(module, nn.Linear | nn.MultiheadAttention)
    return known and isinstance(module._parameters.get(name), nn.Parameter)


def _is_meant(path: str, module: nn.Module, config: AdapterConfig) -> bool:
    if config.targets == "all":
        return True
    if config.targets == "auto":
        parts = path.lower().split(".")
        if any("cross" in part for part in parts):  # MONAI has it, unused: there is one sequence
            return False
        return isinstance(module, nn.MultiheadAttention) or any(
            word in part for word in _ATTENTION for part in parts
        )
    return any(f".{path}".endswith(f".{target}") for target in config.targets)


def _parts(weight: Tensor) -> int:
    """Return 3 for a matrix that holds query, key and value, else 1."""
    return _FUSED if weight.shape[0] == _FUSED * weight.shape[1] else 1


def _is_adapted(module: nn.Module) -> bool:
    if not parametrize.is_parametrized(module):
        return False
    lists: Any = module.parametrizations
    return any(isinstance(part, LowRankUpdate) for each in lists.values() for part in each)


def _adapters(backbone: nn.Module) -> Iterator[nn.Parameter]:
    for module in backbone.modules():
        if isinstance(module, LowRankUpdate):
            yield from module.parameters()


def _nothing(backbone: nn.Module, config: AdapterConfig) -> str:
    linear = [path for path, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        return (
            "adapter wants layers of a transformer, but the network has none. Remove adapter; "
            "train: last:1 learns a part of it."
        )
    what = {"auto": "attention", "all": "linear layer"}.get(str(config.targets), "such layer")
    return (
        f"adapter finds no {what} in what train names. Its linear layers: "
        f"{', '.join(linear[:3])}{', ...' if linear[3:] else ''}. Set adapter.targets: all, or "
        "name them."
    )
