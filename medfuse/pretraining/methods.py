"""The methods by name: which one a network learns by, and what it adds for the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from medfuse.errors import ConfigError
from medfuse.pretraining.mae import DecoderShape, MaskedAutoencoder
from medfuse.pretraining.network import Trainee
from medfuse.pretraining.settings import PretrainingSettings, ViewSettings
from medfuse.pretraining.simclr import SimCLR
from medfuse.pretraining.supervised import Supervised
from medfuse.pretraining.tokens import TokenNetwork, has_tokens, token_network

# He et al. 2022, table 1e: crops alone; changes of gray values make the result worse.
_CROPS_ALONE = {"rotate": 0.0, "gamma": 1.0, "contrast": 0.0, "brightness": 0.0, "blur": 0.0,
                "noise": 0.0}  # fmt: skip
# A label stays true only where what it is about stays in sight.
_GENTLE = {"crop": (0.5, 1.0), "gamma": 1.5, "contrast": 0.2, "brightness": 0.1, "blur": 0.1}
_VIEWS: Mapping[str, Mapping[str, Any]] = {"mae": _CROPS_ALONE, "supervised": _GENTLE}


def settled(settings: PretrainingSettings, trainee: Trainee) -> PretrainingSettings:
    """Return the settings with a method for ``auto``, its own views and rate if none are given.

    Raises:
        ConfigError: the network cannot learn by the method.
    """
    method = settings.method
    if method == "auto":
        method = "mae" if _can_hide(trainee, settings) else "simclr"
    views = {**_VIEWS.get(method, {}), **settings.views.model_dump(exclude_unset=True)}
    chosen = settings.model_copy(update={"method": method, "views": ViewSettings(**views)})
    chosen = chosen.model_copy(update={"lr": chosen.highest_lr})
    if method == "mae":
        _patch(_tokens_of(trainee, chosen), trainee, chosen)
    return chosen


def views_of_one_image(method: str) -> int:
    """Return how many views of an image a method compares."""
    return 2 if method == "simclr" else 1


def build_learner(
    trainee: Trainee, settings: PretrainingSettings, classes: Sequence[int] = ()
) -> nn.Module:
    """Return the backbone with what its method adds, drawn from the seed.

    Args:
        trainee: the backbone.
        settings: after `settled`.
        classes: of supervised learning: how many classes each set has.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.seed)
        return _LEARNERS[settings.method](trainee, settings, classes)


def _can_hide(trainee: Trainee, settings: PretrainingSettings) -> bool:
    """Return whether a network works on a part of its tokens."""
    if not has_tokens(trainee.built):
        return False
    try:
        _patch(_tokens_of(trainee, settings), trainee, settings)
    except ConfigError:
        return False
    return True


def _simclr(trainee: Trainee, settings: PretrainingSettings, _classes: Sequence[int]) -> nn.Module:
    width = trainee.built.feature_dim
    return SimCLR(trainee.source, width, settings.projection, settings.temperature)


def _supervised(
    trainee: Trainee, _settings: PretrainingSettings, classes: Sequence[int]
) -> nn.Module:
    return Supervised(trainee.source, trainee.built.feature_dim, classes)


def _mae(trainee: Trainee, settings: PretrainingSettings, _classes: Sequence[int]) -> nn.Module:
    network = _tokens_of(trainee, settings)
    shape = DecoderShape(settings.decoder_width, settings.decoder_depth, settings.mask_ratio)
    patch = _patch(network, trainee, settings)
    return MaskedAutoencoder(trainee.source, network, patch, shape)


_LEARNERS: Mapping[str, Callable[..., nn.Module]] = {
    "simclr": _simclr, "mae": _mae, "supervised": _supervised,
}  # fmt: skip


def _tokens_of(trainee: Trainee, settings: PretrainingSettings) -> TokenNetwork:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.seed)
        images = torch.rand(2, settings.input.channels, *trainee.view_size)
    with torch.no_grad():
        adapted = trainee.source.adapter(images)
    return token_network(trainee.built, adapted, trainee.name)


def _patch(
    network: TokenNetwork, trainee: Trainee, settings: PretrainingSettings
) -> tuple[int, ...]:
    """Return pixels ``(C, *sides)`` of a place in a view.

    Raises:
        ConfigError: the places do not divide a view, or are too few to hide some.
    """
    size, grid = trainee.view_size, network.grid
    if any(pixels % count for pixels, count in zip(size, grid, strict=True)):
        raise ConfigError(
            f"size: found {settings.size}, expected a multiple of the patches of {trainee.name}, "
            f"of which it makes {' x '.join(map(str, grid))}."
        )
    kept = round(network.count * (1 - settings.mask_ratio))
    if not 1 <= kept < network.count:
        raise ConfigError(
            f"size: found {settings.size}, at which {trainee.name} sees {network.count} patches: "
            f"too few to hide {settings.mask_ratio:.0%} of them. Give a larger --size."
        )
    sides = (pixels // count for pixels, count in zip(size, grid, strict=True))
    return (settings.input.channels, *sides)
