"""The scale of each feature, from few cases."""

from __future__ import annotations

import torch
from torch import Tensor

_CONSTANT = 1e-6
_COLUMNS = 64  # at once: they stay in a processor's cache


def feature_scale(values: Tensor) -> Tensor:
    """Return the standard deviation of each feature ``(F,)``, moderated by those of all others.

    Of a few dozen cases some features hardly vary by chance alone. Divided by so small a standard
    deviation, they are dozens of units from the mean in new cases and drown what was learned.
    Their variances are therefore shrunk toward the median of all, as far as the spread of the
    estimates asks for (Opgen-Rhein and Strimmer, 2007, doi:10.2202/1544-6115.1252): about a
    tenth at 25 cases, and less in proportion to their number. Deviation: tokens and slices of a
    case count as one observation, the mean of their squared deviations. A constant feature has 1,
    and is no estimate to moderate the others by.

    Args:
        values: ``(N, F)``, or tokens or slices ``(N, T, F)``.
    """
    parts = [_squared_deviations(part) for part in torch.split(values, _COLUMNS, dim=-1)]
    variance, spreads = (torch.cat(found) for found in zip(*parts, strict=True))
    varies = variance.sqrt() > _CONSTANT
    if not varies.any():
        return torch.ones_like(variance)
    uncertainty = spreads[varies] / max(1, len(values) - 1)
    target = variance[varies].median()
    spread = ((variance[varies] - target) ** 2).sum()
    share = (uncertainty.sum() / spread).clamp(max=1) if spread > 0 else torch.ones_like(spread)
    moderated = (share * target + (1 - share) * variance).sqrt()
    return torch.where(varies, moderated, torch.ones_like(moderated))


def _squared_deviations(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance over the cases of the squared deviations of each feature."""
    rows = values.double()
    centers = rows.mean(1) if rows.ndim == 3 else rows
    by_case = (centers - centers.mean(0)) ** 2
    if rows.ndim == 3:
        by_case = by_case + rows.var(1, correction=0)
    variance = by_case.mean(0)
    return variance, ((by_case - variance) ** 2).mean(0)
