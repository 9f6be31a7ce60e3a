"""A network of one input, as MONAI's export commands take it. Copied into bundles: torch only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medfuse.model import FusedNetwork


class OneInputNetwork(FusedNetwork):
    """A `FusedNetwork` whose only input has the name ``image``.

    ``torch.jit.script``, by which MONAI's ``ckpt_export`` makes a graph unless it is told to
    trace, cannot read the networks of other libraries. It gets the traced graph instead, the one
    that ``model.ts`` holds.

    Args:
        sources: see `FusedNetwork`; all read the same input.
        classifier: see there.
        shape: of the input, ``(C, *spatial)``.
        calibration: see there.
    """

    def __init__(
        self,
        sources: Sequence[nn.Module],
        classifier: nn.Module,
        shape: Sequence[int],
        calibration: nn.Module | None = None,
    ) -> None:
        super().__init__(sources, classifier, calibration=calibration)
        self.shape = tuple(shape)

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override] # ONNX needs the name
        """Return calibrated logits ``(N, K)``; the raw ones are those of ``classifier``."""
        logits: Tensor = super().forward(image)
        return logits

    def features(self, image: Tensor) -> Tensor:  # type: ignore[override]
        """Return all standardized features side by side, ``(N, sum of F)``; tokens averaged."""
        return super().features(image)

    def with_features(  # type: ignore[override]
        self, image: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what ``forward`` and ``features`` do, of one pass through the sources."""
        return super().with_features(image)

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what ``torch.jit.script`` compiles in place of this network."""
        return _Traced(self)


class _Traced(nn.Module):
    """The graph of a network, in a module that can be compiled."""

    def __init__(self, network: OneInputNetwork) -> None:
        super().__init__()
        example = torch.rand(2, *network.shape, generator=torch.Generator().manual_seed(0))
        example = example.to(network.temperature.device)
        method = {"with_features": example}
        graph: Any = torch.jit.trace_module(network, method, check_trace=False)  # type: ignore[no-untyped-call]
        self.graph = graph

    def forward(self, image: Tensor) -> Tensor:
        """Return calibrated logits ``(N, K)``."""
        logits: Tensor = self.graph.with_features(image)[0]
        return logits

    @torch.jit.export
    def features(self, image: Tensor) -> Tensor:
        """Return the features ``(N, sum of F)``."""
        features: Tensor = self.graph.with_features(image)[1]
        return features

    @torch.jit.export
    def with_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, of one pass through the sources."""
        both: tuple[Tensor, Tensor] = self.graph.with_features(image)
        return both
