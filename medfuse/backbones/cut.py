"""Cut: a backbone that ends at a named module, without the parts behind it.

This file is copied into bundles, so it imports torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, fx, nn


class CutBackbone(nn.Module):
    """Feature map of an inner module, ``(map (N, F, *grid), None)``.

    What the module does not need is removed, so that weights which end there load strictly; the
    rest keeps its names, under ``body``.

    Args:
        backbone: the whole network.
        module_path: the submodule whose output is the map.
        layout: of that output: ``grid`` ``(N, F, *grid)``, ``channels_last`` ``(N, *grid, F)``
            or ``tokens`` ``(N, prefix + T, F)``.
        prefix_tokens: class and register tokens in front of the grid tokens.
        grid: spatial shape of the tokens.

    Raises:
        ValueError: there is no such module, or the way to it cannot be traced.
    """

    def __init__(
        self,
        backbone: nn.Module,
        module_path: str,
        layout: str = "grid",
        prefix_tokens: int = 0,
        grid: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if layout not in ("grid", "channels_last", "tokens"):
            raise ValueError(f"layout is {layout!r}, expected grid, channels_last or tokens")
        self.body = _cut(backbone, module_path)
        self.layout = layout
        self.prefix_tokens = prefix_tokens
        self.grid = tuple(grid)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the map; there is no pooled vector behind a cut."""
        y: Tensor = self.body(x)
        if self.layout == "channels_last":
            return y.movedim(-1, 1), None
        if self.layout == "tokens":
            tokens = y[:, self.prefix_tokens :].transpose(1, 2)
            return tokens.reshape(*tokens.shape[:2], *self.grid), None
        return y, None


class _ReachedError(Exception):
    """Tracing got to the module that was looked for."""

    def __init__(self, node: fx.Node) -> None:
        super().__init__(node.name)
        self.node = node


class _Finder(fx.Tracer):
    """Trace no more than the way to one module; all that is not around it stays opaque."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return not self.path.startswith(f"{module_qualified_name}.")

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        result = super().call_module(m, forward, args, kwargs)
        if self.path_of_module(m) == self.path:
            raise _ReachedError(result.node)
        return result


def _cut(backbone: nn.Module, path: str) -> fx.GraphModule:
    if path not in dict(backbone.named_modules()) or not path:
        raise ValueError(f"there is no module {path!r} to cut at")
    finder = _Finder(path)
    try:
        finder.trace(backbone.eval())
    except _ReachedError as reached:
        graph = finder.graph
        graph.output(reached.node)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"the way to {path!r} cannot be traced: {text}") from error
    else:
        raise ValueError(f"module {path!r} is not called by itself, so nothing can be cut there")
    body = fx.GraphModule(backbone, graph, type(backbone).__name__)
    body.graph.eliminate_dead_code()
    body.delete_all_unused_submodules()
    body.recompile()
    return body
