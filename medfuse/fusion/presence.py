"""Features of absent sources as zeros: what every fusion of features begins with.

This file is copied into bundles beside the fusion, so it imports torch alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def zeros_where_absent(features: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
    """Return the features, with zeros in place of whatever an absent source holds.

    Args:
        features: S tensors ``(N, F_s)`` or ``(N, T_s, F_s)``.
        mask: ``(N, S)``, above 0 where a source is present.
    """
    if _all_present(mask):
        return list(features)
    return [
        torch.where(mask[:, i].view((-1,) + (1,) * (x.ndim - 1)) > 0, x, 0.0)
        for i, x in enumerate(features)
    ]


def _all_present(mask: Tensor) -> bool:
    """Tell whether there is nothing to do, where asking costs less than doing it.

    A graph has to hold both cases, and a GPU would be waited for.
    """
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if traced or torch.compiler.is_compiling() or mask.device.type != "cpu":
        return False
    return bool((mask > 0).all())
