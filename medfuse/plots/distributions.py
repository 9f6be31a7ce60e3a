"""Distributions over cases: scores per true class, and what each source counts for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from medfuse.plots.style import DPI, INK, color, dash, label, legend_below, new_figure, short, tidy

_STEP = 0.05
_MARGIN = 0.01


def source_shares(
    shares: ArrayLike,
    labels: ArrayLike,
    sources: Sequence[str],
    classes: Sequence[str],
    kind: str = "true class",
) -> Figure:
    """Return box plots of each source's share, side by side within each true class.

    A box spans the quartiles, the whiskers the 5th to the 95th percentile. The dotted line is
    the share of every source if all counted the same. The axis spans the whiskers; the title says
    so where that is less than 0 to 1.

    Args:
        shares: ``(N, S)``, rows sum to 1.
        labels: true class of each case, ``(N,)``.
        sources: S names.
        classes: K names.
        kind: what the names are of; empty where there is nothing to tell apart.
    """
    table, truth = np.asarray(shares, dtype=float), np.asarray(labels)
    figure, axes = new_figure(min(11.0, 2.6 + 0.42 * len(sources) * len(classes)), 3.9)
    step = 0.8 / len(sources)
    ends: list[float] = []
    for s, name in enumerate(sources):
        places = np.arange(len(classes)) + (s - (len(sources) - 1) / 2) * step
        groups = [table[truth == k, s] for k in range(len(classes))]
        filled = [k for k, group in enumerate(groups) if len(group)]
        boxes = axes.boxplot(
            [groups[k] for k in filled], positions=places[filled], widths=step * 0.8,
            whis=(5, 95), showfliers=False, patch_artist=True, manage_ticks=False,
            medianprops={"color": INK, "linewidth": 1.5},
        )  # fmt: skip
        ends += [float(y) for cap in boxes["caps"] for y in cap.get_ydata()]
        for box in boxes["boxes"]:
            box.set(facecolor=color(s), alpha=0.75, edgecolor=INK)
        boxes["boxes"][0].set_label(short(name, 40, 1))
    axes.axhline(1 / len(sources), color=INK, linestyle=":", linewidth=1)
    _name_classes(axes, classes)
    low, high = _share_limits(ends, 1 / len(sources))
    axes.set(ylim=(low - _MARGIN, high + _MARGIN), xlim=(-0.6, len(classes) - 0.4))
    axes.grid(visible=False, axis="x")
    cut = "" if (low, high) == (0, 1) else f"\n(axis cut: {low:.2f} to {high:.2f})"
    title = f"What each source counts for{cut}"
    label(axes, title, kind, "share of the source (fraction)")
    legend_below(figure, axes, columns=1 if max(map(len, sources)) > 22 else 3)
    return figure


def score_histogram(probabilities: ArrayLike, labels: ArrayLike, classes: Sequence[str]) -> Figure:
    """Return, per class, histograms of its probability in its own cases and in all others.

    Each is in percent of its cases. With two classes only the positive (last) one is drawn.

    Args:
        probabilities: ``(N, K)``.
        labels: true class of each case, ``(N,)``.
        classes: K names.
    """
    chances, truth = np.asarray(probabilities, dtype=float), np.asarray(labels)
    shown = [1] if len(classes) == 2 else list(range(len(classes)))
    columns = 2 if len(shown) == 4 else min(3 if len(shown) <= 9 else 4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(
        figsize=(max(4.4, 3.0 * columns), 2.2 * rows + 1.1), layout="constrained",
        facecolor="white", dpi=DPI,
    )  # fmt: skip
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for place, axes in enumerate(grid.flat):
        if place >= len(shown):
            axes.set_axis_off()
            continue
        k = shown[place]
        tidy(axes)
        for index, own in enumerate((True, False)):
            values = chances[(truth == k) == own, k]
            weights = np.full(len(values), 100 / max(len(values), 1))
            axes.hist(
                values, bins=20, range=(0, 1), weights=weights, histtype="stepfilled",
                facecolor=(color(index), 0.3), edgecolor=color(index), linestyle=dash(index),
                linewidth=1.3, label="cases of the class" if own else "all other cases",
            )  # fmt: skip
        axes.set_title(short(classes[k], 30), fontsize=10, loc="left")
    figure.suptitle(
        "Predicted probability of each class, in its cases and in all others"
        if len(shown) > 1
        else "Predicted probability of the positive class",
        x=0.01, ha="left", fontsize=11, color=INK,
    )  # fmt: skip
    for axes in grid[-1]:
        axes.set_xlabel("predicted probability", fontsize=10)
    figure.supylabel("cases (%)", fontsize=10)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    return figure


def _share_limits(ends: Sequence[float], equal: float) -> tuple[float, float]:
    """Return the axis that holds every whisker and the equal share, in steps of 0.05."""
    seen = np.array([*ends, equal - _STEP, equal + _STEP]) / _STEP
    low, high = np.floor(seen.min() + 1e-9), np.ceil(seen.max() - 1e-9)
    return float(max(low * _STEP, 0)), float(min(high * _STEP, 1))


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    axes.set_xticks(range(len(classes)), [short(name, 14) for name in classes], fontsize=8.5)
    if len(classes) > 6:
        axes.tick_params(axis="x", labelrotation=40)
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
