"""Distances of a cohort's cases beside those of held-out training cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medfuse.plots.style import DPI, FAINT, INK, color, dash, label, tidy

Floats = NDArray[np.float64]


def distance_curves(
    expected: Mapping[str, Floats], found: Sequence[Floats], limits: Sequence[float]
) -> Figure:
    """Return a panel for each source: the share of cases up to each distance.

    Args:
        expected: quantiles ``(Q,)`` of held-out cases at equal steps from 0 to 1, by source.
        found: distances ``(N,)`` of the cohort for each source; NaN is left out.
        limits: of each source; an infinite one is not drawn.
    """
    count = len(expected)
    size = (3.4 * count + 0.6, 3.3)
    figure = Figure(figsize=size, layout="constrained", facecolor="white", dpi=DPI)
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    rows = zip(panels, expected.items(), found, limits, strict=True)
    for axes, (name, quantiles), values, limit in rows:
        tidy(axes)
        known = np.sort(values[~np.isnan(values)])
        levels = np.linspace(0, 1, len(quantiles))
        axes.plot(quantiles, levels, color=INK, linestyle=dash(1), label="held-out training cases")
        shares = np.arange(1, len(known) + 1) / max(len(known), 1)
        axes.step(known, shares, color=color(0), where="post", label="this cohort")
        if np.isfinite(limit):
            axes.axvline(limit, color=FAINT, linestyle=":", label="limit")
        label(axes, name, "distance", "share of cases" if axes is panels[0] else "")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
