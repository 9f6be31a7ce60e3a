"""Every built-in fusion, made from the table that ships."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medfuse.builtin import medfuse_fusions
from medfuse.contract import DecisionFusionSpec, FeatureFusionSpec, resolve_options

DIMS = (6, 10, 8)
CLASSES = 4
SPECS = {spec.name: spec for spec in medfuse_fusions()}
FEATURE = [n for n, s in SPECS.items() if isinstance(s, FeatureFusionSpec)]
DECISION = [n for n, s in SPECS.items() if isinstance(s, DecisionFusionSpec)]


def _build(name: str, **options: Any) -> nn.Module:
    spec = SPECS[name]
    module, _, attribute = spec.factory.partition(":")
    factory = getattr(import_module(module), attribute)
    sizes = (list(DIMS),) if name in FEATURE else (len(DIMS), CLASSES)
    torch.manual_seed(0)
    made: nn.Module = factory(*sizes, **resolve_options(spec.options, options, name))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made.eval()


def _inputs(name: str, rows: int = 5, seed: int = 0) -> Any:
    numbers = torch.Generator().manual_seed(seed)
    if name in DECISION:
        return torch.randn(rows, len(DIMS), CLASSES, generator=numbers).log_softmax(-1)
    if SPECS[name].accepts == "maps":  # type: ignore[union-attr]
        tokens = (4, 9, 1)
        shapes = [(rows, t, d) for t, d in zip(tokens, DIMS, strict=True)]
    else:
        shapes = [(rows, d) for d in DIMS]
    return [torch.randn(shape, generator=numbers) for shape in shapes]


def _spoiled(inputs: Any, source: int, value: float) -> Any:
    if isinstance(inputs, Tensor):
        changed = inputs.clone()
        changed[:, source] = value
        return changed
    return [torch.full_like(x, value) if i == source else x for i, x in enumerate(inputs)]


@pytest.fixture
def build() -> Callable[..., nn.Module]:
    """Make a fusion by name, its parameters random, in eval mode."""
    return _build


@pytest.fixture
def inputs() -> Callable[..., Any]:
    """Random inputs for a fusion by name."""
    return _inputs


@pytest.fixture
def spoiled() -> Callable[..., Any]:
    """The inputs with one source overwritten."""
    return _spoiled


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument, names in (("fusion", FEATURE + DECISION), ("feature_fusion", FEATURE)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, names)
