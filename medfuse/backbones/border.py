"""Border: a source in two parts at a stage, the frozen part below and the part that learns above.

The parts are shallow copies of the modules around the border and share all others, and so all
parameters, with the source. Nothing is traced, so that any network can be divided at which one
tensor crosses.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from medfuse.backbones.source import Source

Shape = tuple[int, ...]

_BACKBONE = "backbone"
_PROBES = 2
_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError)


@dataclass(frozen=True)
class Border:
    """Where a source is divided, and what has to be known of its lower part.

    Attributes:
        path: module path inside the source, whose output crosses the border.
        shape: of that output, without the axis of the images.
        image: shape of one image.
        passed: modules that are called before the border, and the shape of what each call gives;
            their first axis is for one image.
    """

    path: str
    shape: Shape
    image: Shape
    passed: Mapping[str, tuple[Shape, ...]]

    @property
    def width(self) -> int:
        """Numbers in one activation."""
        return math.prod(self.shape)


def find_border(
    source: Source, stages: Sequence[str], learning: frozenset[str], image: Shape
) -> Border | None:
    """Return the highest stage with nothing that learns below, crossed by one tensor alone.

    Each is tried: the upper part has to give for the lower part's output what the source gives.

    Args:
        source: in eval mode.
        stages: module paths inside the backbone, from input to output.
        learning: names of the modules of the backbone that learn at some time.
        image: ``(C, *spatial)`` of a canonical image.
    """
    for stage in reversed(stages):
        if stage in learning:
            continue
        try:
            border = _observed(source, f"{_BACKBONE}.{stage}", image)
            if _is_frozen(border, learning) and _divides(source, border):
                return border
        except _ERRORS:  # of the network: it cannot be divided here
            continue
    return None


class LowerPart(nn.Module):
    """The activation at the border, flat ``(N, A)``, of images ``(N, C, *spatial)``.

    Images lie as they do in training, whose bits it gives: an optimizer that scales gradients
    makes much of the last ones.
    """

    as_in_training = True

    def __init__(self, source: Source, border: Border) -> None:
        super().__init__()
        inner = border.path.removeprefix(f"{_BACKBONE}.")
        self.adapter = source.adapter
        self.backbone = _replaced(source.backbone, {inner: _Last})

    def forward(self, image: Tensor) -> Tensor:
        """Return what the border's module gives; what lies above is not computed."""
        try:
            self.backbone(self.adapter(image.contiguous()))
        except _ReachedError as reached:
            return reached.output.flatten(1)
        raise RuntimeError("the border was not reached")


class UpperPart(nn.Module):
    """Features of activations ``(N, A)``, by what lies above the border.

    The lower part is not computed: its modules give NaN of the right shape. A value of theirs that
    crossed the border beside the activation would make the features NaN.
    """

    def __init__(self, source: Source, border: Border) -> None:
        super().__init__()
        self.border = border
        self._journey = _Journey()
        stand_ins: dict[str, Callable[[nn.Module], nn.Module]] = {
            name: lambda module, s=shapes: _Passed(module, s, self._journey)  # type: ignore[misc]
            for name, shapes in border.passed.items()
        }
        stand_ins[border.path] = lambda module: _Given(module, self._journey)
        self.source = _replaced(source, stand_ins)

    def forward(self, activation: Tensor) -> Tensor:
        """Return features ``(N, F)`` or ``(N, T, F)``."""
        count = len(activation)
        self._journey.begin(activation.reshape(count, *self.border.shape))
        features: Tensor = self.source(_nan(activation, (count, *self.border.image)))
        return features


class _ReachedError(Exception):
    """The border was reached."""

    def __init__(self, output: Tensor) -> None:
        super().__init__("the border was reached")
        self.output = output


class _StandIn(nn.Module):
    """Stands where another module stood, and has its attributes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


class _Last(_StandIn):
    """The module at the border; nothing comes after it."""

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        raise _ReachedError(self.module(*inputs, **keywords))


class _Journey:
    """How far a forward pass has come; ``activation`` is ``None`` behind the border."""

    def __init__(self) -> None:
        self.activation: Tensor | None = None
        self.calls: dict[int, int] = {}

    def begin(self, activation: Tensor) -> None:
        self.activation, self.calls = activation, {}


class _Passed(_StandIn):
    """A module below the border: NaN of the right shape. Behind the border it is itself."""

    def __init__(self, module: nn.Module, shapes: tuple[Shape, ...], journey: _Journey) -> None:
        super().__init__(module)
        self._shapes, self._journey = shapes, journey

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        activation = self._journey.activation
        if activation is None:
            return self.module(*inputs, **keywords)
        call = self._journey.calls.get(id(self), 0)
        self._journey.calls[id(self)] = call + 1
        first, *rest = self._shapes[call]
        return _nan(activation, (first * len(activation), *rest))


class _Given(_StandIn):
    """The module at the border: gives the activation."""

    def __init__(self, module: nn.Module, journey: _Journey) -> None:
        super().__init__(module)
        self._journey = journey

    def forward(self, *_inputs: Any, **_keywords: Any) -> Tensor:
        activation, self._journey.activation = self._journey.activation, None
        assert activation is not None, "find_border refuses a module that is called twice"
        return activation


def _nan(like: Tensor, shape: Shape) -> Tensor:
    """Return NaN of a shape, which takes no memory."""
    return like.new_full((), torch.nan).expand(shape)


def _replaced(
    root: Any, stand_ins: Mapping[str, Callable[[nn.Module], nn.Module]], prefix: str = ""
) -> Any:
    """Return a shallow copy of a module with some inner ones replaced; all others are shared.

    Of a copied module parameters and buffers are shared too, wherever they are moved later.
    """
    copied = copy.copy(root)
    copied.__dict__["_modules"] = dict(root._modules)
    for name, child in root._modules.items():
        path = f"{prefix}{name}"
        if path in stand_ins:
            copied._modules[name] = stand_ins[path](child)
        elif child is not None and any(p.startswith(f"{path}.") for p in stand_ins):
            copied._modules[name] = _replaced(child, stand_ins, f"{path}.")
    return copied


def _observed(source: Source, path: str, image: Shape) -> Border:
    """Return what one image shows: which modules are called on the way, and what they give."""
    calls: list[tuple[str, Any]] = []
    with ExitStack() as hooks, torch.no_grad():
        for name in (*_beside(source, path), path):
            note = _noting(calls, name)
            hooks.callback(source.get_submodule(name).register_forward_hook(note).remove)
        source(torch.zeros(1, *image))
    reached = [i for i, (name, _) in enumerate(calls) if name == path]
    if len(reached) != 1:
        raise ValueError(f"{path} is called {len(reached)} times")
    passed: dict[str, list[Shape]] = {}
    for name, shape in calls[: reached[0]]:
        passed.setdefault(name, []).append(shape)
    shapes = {name: tuple(found) for name, found in passed.items()}
    return Border(path, calls[reached[0]][1][1:], image, shapes)


def _beside(source: Source, path: str) -> list[str]:
    """Return the children of all modules around ``path`` that are not around it themselves."""
    parts = path.split(".")
    around = [".".join(parts[:depth]) for depth in range(len(parts))]
    return [
        name
        for parent in around
        for child, module in source.get_submodule(parent).named_children()
        if (name := f"{parent}.{child}".lstrip(".")) not in (*around, path) and module is not None
    ]


def _noting(calls: list[tuple[str, Any]], name: str) -> Callable[..., None]:
    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        calls.append((name, tuple(output.shape)))

    return note


def _is_frozen(border: Border, learning: frozenset[str]) -> bool:
    return not any(name.removeprefix(f"{_BACKBONE}.") in learning for name in border.passed)


@torch.no_grad()
def _divides(source: Source, border: Border) -> bool:
    """Return whether the two parts together give what the source gives."""
    numbers = torch.Generator().manual_seed(0)
    images = torch.rand(_PROBES, *border.image, generator=numbers)
    expected = cast("Tensor", source(images))
    found = UpperPart(source, border)(LowerPart(source, border)(images))
    return found.shape == expected.shape and torch.allclose(found, expected, 1e-4, 1e-6)
