"""The network that learns: a backbone as a source, all of it trainable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from medfuse.backbones.build import BackboneRegistry, BuiltSource, SourceTarget, build_source
from medfuse.backbones.source import Source
from medfuse.config import SourceConfig
from medfuse.errors import ConfigError, SourceError
from medfuse.pretraining.settings import PretrainingSettings
from medfuse.registry.bundled import is_bundled
from medfuse.registry.references import RANDOM_WEIGHTS, parse_source
from medfuse.training.checkpoint import cpu_state

_IMG_SIZE = "img_size"


@dataclass(frozen=True)
class Trainee:
    """A backbone that is about to learn.

    Attributes:
        built: the source, all of it trainable; its ``module`` is what learns.
        name: ``plugin:name`` of the backbone.
        view_size: of the views, ``(H, W)`` or ``(H, W, D)``.
        use_size: what the backbone gets once it is a source.
    """

    built: BuiltSource
    name: str
    view_size: tuple[int, ...]
    use_size: tuple[int, ...]

    @property
    def source(self) -> Source:
        """The module that learns."""
        module: Any = self.built.module
        return module  # type: ignore[no-any-return]

    @property
    def options(self) -> dict[str, Any]:
        """Options of the backbone that are not its defaults."""
        spec = self.built.spec
        known = {option.name: option.default for option in spec.options} if spec else {}
        chosen = self.built.identity["options"]
        return {k: v for k, v in chosen.items() if k not in known or v != known[k]}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the backbone's weights by name, and the ``remap`` with which they load.

        Where a plugin wraps a library's network, the names are the library's own: the file then
        also loads without its description, and in the library.
        """
        state = cpu_state(self.source.backbone)
        weights = self.built.spec.weights if self.built.spec else ()
        prefix = next((w.remap[""] for w in reversed(weights) if w.remap.get("")), "")
        if not prefix or not all(key.startswith(prefix) for key in state):
            return state, {}
        return {key.removeprefix(prefix): tensor for key, tensor in state.items()}, {"": prefix}


class WholeImages(nn.Module):
    """Features of whole images as the finished source will give them.

    Args:
        source: the module that learns.
        size: what the backbone gets.
    """

    def __init__(self, source: nn.Module, size: tuple[int, ...]) -> None:
        super().__init__()
        self.source = source
        self._size = size

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(N, F)`` of images ``(N, C, *spatial)``."""
        if tuple(images.shape[2:]) != self._size:
            mode = "bilinear" if len(self._size) == 2 else "trilinear"
            images = F.interpolate(images, self._size, mode=mode, antialias=mode == "bilinear")
        found: Tensor = self.source(images)
        return found


def build_trainee(
    settings: PretrainingSettings, registry: BackboneRegistry, dims: int, download: bool = False
) -> Trainee:
    """Return the backbone to train, from random numbers or from ``settings.init``.

    Args:
        settings: which backbone, of what size.
        registry: knows it.
        dims: axes of the images of the pool.
        download: allow weights to be fetched.

    Raises:
        SourceError: the backbone cannot be resolved, built or run at this size.
        WeightsError: the weights to begin with are absent or do not fit.
        ConfigError: the settings name weights twice.
    """
    plugin, spec = registry.backbone(parse_source(_use(settings)))
    fixed = any(option.name == _IMG_SIZE for option in spec.options) or any(
        weights.size_policy == "fixed" for weights in spec.weights[:1]
    )
    size = (settings.size,) * dims
    target = SourceTarget(settings.input.channels, size, seed=settings.seed, download=download)
    config = SourceConfig(
        use=_use(settings), options=settings.options, train="all", levels=1, input_size=size
    )
    try:
        built = build_source(config, registry, target)
    except SourceError as error:  # a user of this command has set the size by another name
        raise type(error)(str(error).replace("input_size", "--size")) from error
    whole = size if fixed else (settings.stored_size,) * dims
    reference = registry.qualified(parse_source(settings.backbone))
    return Trainee(built, f"{reference.plugin or plugin}:{spec.name}", size, whole)


def _use(settings: PretrainingSettings) -> str:
    """Return the source that training begins with, as a configuration names it."""
    reference = parse_source(settings.backbone)
    if reference.weights or reference.file:
        raise ConfigError(
            f"backbone is {settings.backbone}, expected plugin:name alone. Say what it begins with "
            "as init: NAME of its weights, or a file; without, it begins with random numbers."
        )
    if settings.init is None:
        return f"{settings.backbone}.{RANDOM_WEIGHTS}"
    if is_bundled(settings.init):
        raise ConfigError(
            f"init is {settings.init}, expected NAME of weights or a file. Learning goes on from a "
            "bundle as a source of 'medfuse train', with train: all."
        )
    is_file = Path(settings.init).suffix in (".safetensors", ".pt", ".pth") or "/" in settings.init
    return f"{settings.backbone}{'@' if is_file else '.'}{settings.init}"
