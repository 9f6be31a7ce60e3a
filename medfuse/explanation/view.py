"""View: what the network says as the image of one source changes, and the others stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medfuse.model import is_present

Images = Tensor | Sequence[Tensor]


class SourceView(nn.Module):
    """Log-odds ``(N, K)`` of N images of one source; its other inputs are those of one case.

    Args:
        network: a `medfuse.model.FusedNetwork`, or one that a bundle built.
        position: of the source.
        images: the case, ``(1, C, *spatial)`` for each input.
    """

    def __init__(self, network: nn.Module, position: int, images: Sequence[Tensor]) -> None:
        super().__init__()
        fused: Any = network
        self.network = fused
        self.position = position
        self.source: nn.Module = fused.sources[position]
        with torch.no_grad():
            self.fixed: list[Tensor] = fused.extract(*images)
            self.mask: Tensor | None = fused.present(*images)
        self.eval()  # MONAI puts back the mode that it finds, and a new module is in training mode

    def forward(self, image: Tensor) -> Tensor:
        """Return the log-odds of images ``(N, C, *spatial)`` of the source."""
        features: Tensor = self.source(image)
        return self.judge(features)

    def judge(self, features: Tensor) -> Tensor:
        """Return the log-odds ``(N, K)`` of features ``(N, ...)`` of the source."""
        count = len(features)
        every = [one.expand(count, *one.shape[1:]) for one in self.fixed]
        every[self.position] = features
        mask = None if self.mask is None else self.mask.expand(count, -1)
        return log_odds_of(self.network, every, mask)


def log_odds_of(network: Any, features: Sequence[Tensor], mask: Tensor | None) -> Tensor:
    """Return the log-odds ``(N, K)`` of features of all sources, before a map of calibration.

    Such a map may be flat, and would hide what moves the network.
    """
    logits: Tensor = network.classifier(features, mask) / network.temperature
    return log_odds(logits, getattr(network, "exclusive", True))


def log_odds(logits: Tensor, exclusive: bool = True) -> Tensor:
    """Return ``log(p / (1 - p))`` of each class, ``(N, K)``.

    A logit alone says nothing under a softmax, and the logarithm of a probability near 1 hardly
    moves; the log-odds of a class measure the evidence for it against all the others.

    Args:
        logits: ``(N, K)``.
        exclusive: the probabilities are a softmax; else each logit is the log-odds already.
    """
    if not exclusive:
        return logits
    count = logits.shape[1]
    own = torch.eye(count, dtype=torch.bool, device=logits.device)
    others = logits[:, None, :].expand(-1, count, -1).masked_fill(own, -torch.inf)
    return logits - others.logsumexp(-1)


def as_inputs(images: Images) -> tuple[Tensor, ...]:
    """Return the inputs of a case as a tuple, each ``(1, C, *spatial)`` or ``(1, P)``."""
    return (images,) if isinstance(images, Tensor) else tuple(images)


def source_names(network: Any) -> tuple[str, ...]:
    """Return the names of the sources: ``network.source_names`` where it has them."""
    given = getattr(network, "source_names", None)
    return tuple(given or (f"source {i}" for i in range(len(network.sources))))


def seeing(network: Any, images: Sequence[Tensor]) -> list[int]:
    """Return which sources see an image or volume of this case; tables have no places."""
    inputs = [images[i] for i in network.inputs]
    return [i for i, x in enumerate(inputs) if x.ndim > 3 and bool(is_present(x).all())]
