"""Read: which maps inside a backbone its vector is made of, found by watching one image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

Layout = Literal["grid", "channels_last", "tokens"]
_MOST_PREFIX = 16  # class and register tokens


@dataclass(frozen=True)
class MapPlace:
    """Where a map comes out of a backbone.

    Attributes:
        path: of the module; empty for the backbone itself.
        layout: of its output, as `medfuse.contract.Stage` has it.
        grid: spatial shape of the map.
    """

    path: str
    layout: Layout
    grid: tuple[int, ...]

    def to_map(self, output: Any) -> Tensor:
        """Return the map ``(N, F, *grid)`` in an output of the module."""
        y: Tensor = output[0] if isinstance(output, tuple) else output
        if self.layout == "channels_last":
            return y.movedim(-1, 1)
        if self.layout == "tokens":
            tokens = y[:, -math.prod(self.grid) :].transpose(1, 2)
            return tokens.reshape(*tokens.shape[:2], *self.grid)
        return y

    def with_map(self, output: Any, feature_map: Tensor) -> Any:
        """Return an output that holds another map."""
        if isinstance(output, tuple):
            return (self.with_map(output[0], feature_map), *output[1:])
        if self.layout == "channels_last":
            return feature_map.movedim(1, -1)
        if self.layout == "tokens":
            prefix = output[:, : -math.prod(self.grid)]
            return torch.cat([prefix, feature_map.flatten(2).transpose(1, 2)], 1)
        return feature_map


@dataclass(frozen=True)
class Level:
    """A map whose mean over its grid is a part of the vector, from ``start`` on."""

    place: MapPlace
    start: int
    width: int


@dataclass(frozen=True)
class Reading:
    """What a source's features are made of.

    Attributes:
        last: the last map that the features depend on at more than one place.
        levels: maps before it whose means stand in the vector as they are.
    """

    last: MapPlace
    levels: tuple[Level, ...] = ()

    @property
    def places(self) -> list[MapPlace]:
        """Where all maps come out, the last one last."""
        return [*(level.place for level in self.levels), self.last]

    @property
    def name(self) -> str:
        """The layers in words."""
        return " + ".join(place.path or "the last map" for place in self.places)


def find_reading(source: nn.Module, image: Tensor, layer: str = "auto") -> Reading | None:
    """Return where a source's features are read from; ``None`` where no map gives them.

    Args:
        source: maps images to features ``(N, F)`` or ``(N, T, F)``.
        image: one of them, ``(1, C, *spatial)``.
        layer: ``auto`` finds all maps, ``last`` the last one alone; else the path of a module of
            the backbone, or the end of one, whose output is taken instead.
    """
    backbone = backbone_of(source)
    with torch.no_grad():
        outputs, features = _watched(source, backbone, image)
    if layer not in ("auto", "last"):
        chosen = [o for o in outputs if o.place.path == layer or o.place.path.endswith(f".{layer}")]
        outputs = chosen[-1:]
    last = next((o for o in reversed(outputs) if _matters(source, backbone, image, o.place)), None)
    if last is None:
        return None
    if layer != "auto" or features.ndim != 2:
        return Reading(last.place)
    before = outputs[: outputs.index(last)]
    return Reading(last.place, _levels(last, before, features[0]))


def backbone_of(source: nn.Module) -> nn.Module:
    """Return the network inside a source; one without an adapter is it itself."""
    inner = getattr(source, "backbone", source)
    return inner if isinstance(inner, nn.Module) else source


def module_at(backbone: nn.Module, path: str) -> nn.Module:
    """Return a module of a backbone; an empty path is the backbone."""
    return backbone.get_submodule(path)


@dataclass(frozen=True, eq=False)
class _Output:
    place: MapPlace
    means: Tensor


def _watched(source: nn.Module, backbone: nn.Module, image: Tensor) -> tuple[list[_Output], Tensor]:
    """Return every map that came by, in order, and the features."""
    size = tuple(image.shape[2:])
    seen: list[tuple[str, nn.Module, tuple[int, ...], Tensor | None]] = []
    with ExitStack() as hooks:
        for path, module in backbone.named_modules():
            note = partial(_note, seen, path, size)
            hooks.callback(module.register_forward_hook(note).remove)
        features: Tensor = source(image)
    grids = [grid for _, _, grid, means in seen if means is not None]
    found = []
    for path, module, shape, means in seen:
        if means is not None:
            layout: Layout = (
                "grid" if len(means) == shape[1] and _fits(shape[2:], size) else ("channels_last")
            )
            grid = shape[2:] if layout == "grid" else shape[1:-1]
            found.append(_Output(MapPlace(path, layout, tuple(grid)), means))
        elif isinstance(module, nn.LayerNorm) and len(shape) == 3 and grids:
            prefix = shape[1] - math.prod(_map_grid(grids[-1], size))
            if 0 <= prefix <= _MOST_PREFIX:
                grid = _map_grid(grids[-1], size)
                found.append(_Output(MapPlace(path, "tokens", grid), torch.zeros(0)))
    return found, features


def _map_grid(shape: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape[2:]) if _fits(shape[2:], size) else tuple(shape[1:-1])


def _note(
    seen: list[Any], path: str, size: tuple[int, ...], module: nn.Module, _: Any, output: Any
) -> None:
    y = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(y, Tensor) or len(y) != 1:
        return
    means = None
    if y.ndim == 2 + len(size):
        if _fits(y.shape[2:], size):
            means = y.flatten(2).mean(2)[0]
        elif _fits(y.shape[1:-1], size):
            means = y.flatten(1, -2).mean(1)[0]
        else:
            return
    seen.append((path, module, tuple(y.shape), means))


def _fits(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Tell whether this is the shape of a map of an image: smaller by one stride, within 1."""
    if math.prod(grid) < 2:
        return False
    stride = max(s / g for s, g in zip(size, grid, strict=True))
    if 1 < stride < 1.5:
        return False
    return all(abs(s / stride - g) <= 1 for s, g in zip(size, grid, strict=True))


def _matters(source: nn.Module, backbone: nn.Module, image: Tensor, place: MapPlace) -> bool:
    """Tell whether the features change with a map at more than one of its places."""
    leaf: list[Tensor] = []

    def replace(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if leaf:
            return output
        leaf.append(place.to_map(output).detach().clone().requires_grad_())
        return place.with_map(_detached(output), leaf[0])

    with torch.enable_grad(), replaced(module_at(backbone, place.path), replace):
        features: Tensor = source(image)
        if not features.requires_grad:
            return False
        weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
        (gradient,) = torch.autograd.grad(
            (features * weights.to(features)).sum(), leaf[0], allow_unused=True
        )
    if gradient is None:
        return False
    strength = gradient.abs().flatten(2).amax(1)[0]
    return int((strength > 1e-6 * strength.max()).sum()) > 1 if strength.max() > 0 else False


def replaced(module: nn.Module, hook: Callable[..., Any]) -> ExitStack:
    """Return a context in which a module's output is what ``hook`` returns."""
    stack = ExitStack()
    stack.callback(module.register_forward_hook(hook).remove)
    return stack


def _detached(output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(_detached(one) for one in output)
    return output.detach() if isinstance(output, Tensor) else output


def _levels(last: _Output, before: Sequence[_Output], vector: Tensor) -> tuple[Level, ...]:
    """Return which maps' means stand in the vector, the latest of equal ones."""
    taken = torch.zeros(len(vector), dtype=torch.bool)
    start = _place_in(vector, last.means)
    if start is not None:
        taken[start : start + len(last.means)] = True
    found = []
    for output in reversed(before):
        start = _place_in(vector, output.means)
        if start is None or bool(taken[start : start + len(output.means)].any()):
            continue
        taken[start : start + len(output.means)] = True
        found.append(Level(output.place, start, len(output.means)))
    return tuple(reversed(found))


def _place_in(vector: Tensor, means: Tensor) -> int | None:
    width = len(means)
    if width < 2 or width > len(vector) or not bool(means.std() > 0):
        return None
    windows = vector.unfold(0, width, 1)
    close = torch.isclose(windows, means[None], rtol=1e-4, atol=1e-5 * float(means.abs().max()))
    hits = torch.nonzero(close.all(1)).flatten()
    return int(hits[0]) if len(hits) else None
