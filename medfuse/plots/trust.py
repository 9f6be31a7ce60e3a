"""Is a prediction to be believed? Risk over coverage, and distances beside their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from medfuse.plots.style import FAINT, INK, color, label, new_figure, short


def risk_coverage_curve(coverage: Sequence[float], risk: Sequence[float]) -> Figure:
    """Return the error rate among the surest cases over the share of cases that they are.

    Args:
        coverage: shares, rising to 1.
        risk: error rate of each.
    """
    figure, axes = new_figure(4.7, 3.6)
    axes.step([0.0, *coverage], [risk[0], *risk], where="post", color=color(0), linewidth=1.6)
    axes.set(xlim=(0, 1.01), ylim=(0, max(0.05, 1.1 * max(risk))))
    title = "Errors among the surest cases"
    label(axes, title, "share of the cases that get an answer", "error rate")
    return figure


def distance_histograms(distances: Mapping[str, np.ndarray]) -> Figure:
    """Return how far cases lie, for each source, as multiples of its limit.

    Args:
        distances: by source, of the cases that have its input.
    """
    count = max(1, len(distances))
    figure = Figure(figsize=(4.7, 1.1 + 1.3 * count), layout="constrained", facecolor="white")
    rows = np.atleast_1d(figure.subplots(count, 1, sharex=True))
    top = max([1.1, *(float(np.max(x)) for x in distances.values() if len(x))])
    edges = np.linspace(0, 1.02 * top, 40)
    for number, (axes, (name, values)) in enumerate(zip(rows, distances.items(), strict=False)):
        axes.hist(values, edges, color=color(number), edgecolor="white", linewidth=0.4)
        axes.axvline(1.0, color=INK, linestyle="--", linewidth=1.2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=INK, labelsize=9)
        label(axes, short(name, 48, 1), "", "cases")
    rows[-1].set_xlabel("distance from the training cases (1, dashed: the limit)", fontsize=10)
    return figure
