"""Export recipes: what a bundle needs to rebuild a component, or its traced graph."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Collection, Iterable
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn

from medfuse.contract import ComponentSpec, GraphOnly, PublicTarget, VendoredSource
from medfuse.errors import PluginError
from medfuse.registry.providers import import_providers
from medfuse.registry.vendoring import check_imports, vendored_path
from medfuse.testing import isolated
from medfuse.testing.behavior import check_close
from medfuse.testing.probes import Probe

IN_EVERY_BUNDLE = frozenset({"torch", "numpy", "monai"})


def recipe_is_sound(spec: ComponentSpec, own: Collection[str]) -> None:
    """Pass if the export names public things alone and declares what it needs.

    Args:
        spec: the component.
        own: the plugin's own packages, absent where a bundle runs.
    """
    export = spec.export
    if isinstance(export, PublicTarget):
        _check_declared([export.target.partition(".")[0]], export.requires, own)
    elif isinstance(export, VendoredSource):
        _check_first_module(spec)
        check_imports(export)
        _check_declared(export.allowed_imports, export.requires, own)
    elif not export.reason.strip():
        raise PluginError("GraphOnly without a reason. Say why it cannot be rebuilt.")


def traced_graph_agrees(probe: Probe) -> None:
    """Pass if the network traces with `torch.jit.trace`, saves, and takes another batch size."""
    if not isinstance(probe.spec.export, GraphOnly):
        raise TypeError("only for GraphOnly")
    wrapped = _TensorsOnly(probe.module, probe.listed).eval()
    buffer = BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(_trace(wrapped, probe.inputs), buffer)
        buffer.seek(0)
        loaded = _load(buffer)
        for rows in (slice(None), slice(0, 1)):
            inputs = [x[rows] for x in probe.inputs]
            found = list(loaded(*inputs))
            check_close(probe.call(probe.module, inputs), found, "the traced graph differs")


class _TensorsOnly(nn.Module):
    """Called with separate tensors, returns a tuple of tensors: what a graph can hold."""

    def __init__(self, module: nn.Module, listed: bool) -> None:
        super().__init__()
        self.module = module
        self.listed = listed

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(isolated.invoke(self.module, inputs, self.listed))


def _trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return torch.jit.trace(module, inputs)  # type: ignore[no-untyped-call]


def _load(buffer: BytesIO) -> Any:
    return torch.jit.load(buffer)  # type: ignore[no-untyped-call]


def _check_first_module(spec: ComponentSpec) -> None:
    export = spec.export
    module = spec.factory.partition(":")[0]
    if not isinstance(export, VendoredSource) or not export.modules:
        raise PluginError("VendoredSource without modules. Name the factory's own first.")
    if export.modules[0] != module:
        raise PluginError(
            f"the factory is in {module}, but the first vendored module is {export.modules[0]}."
        )
    vendored_path(module)


def _check_declared(
    imports: Iterable[str], requires: tuple[str, ...], own: Collection[str]
) -> None:
    providers = import_providers()
    declared = {_normalized(name) for name in requires}
    for top in imports:
        if top == "medfuse" or top in own:
            raise PluginError(f"the export needs {top}, which is absent where a bundle runs.")
        if top in IN_EVERY_BUNDLE or top in sys.stdlib_module_names:
            continue
        dists = {_normalized(name) for name in providers.get(top, [top])}
        if not dists & declared:
            raise PluginError(
                f"the export imports {top} but requires does not name "
                f"{' or '.join(sorted(dists))}, so a user cannot know what to install."
            )


def _normalized(requirement: str) -> str:
    """Return a requirement's name as package indexes compare it."""
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")
