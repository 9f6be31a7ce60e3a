"""A cohort before training: shares of classes, sizes, intensities, duplicates, shortcuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from medfuse.plots.style import (
    DPI,
    FAINT,
    INK,
    color,
    dash,
    label,
    legend_below,
    new_figure,
    plain,
    short,
    tidy,
)

_MOST_CLASSES = 10
_BINS = 40


def class_pie(counts: Mapping[str, int]) -> Figure:
    """Return the share of each class, names and counts beside the pieces.

    Args:
        counts: cases by class name; empty classes are left out.
    """
    kept = {name: count for name, count in counts.items() if count}
    figure, axes = new_figure(5.2, 3.6)
    total = sum(kept.values())
    names = [f"{short(n, 22, 1)}\n{c} ({100 * c / total:.1f} %)" for n, c in kept.items()]
    axes.pie(
        list(kept.values()), labels=names, colors=[color(i) for i in range(len(kept))],
        startangle=90, counterclock=False, textprops={"fontsize": 8.5, "color": INK},
        wedgeprops={"edgecolor": "white", "linewidth": 1.5},
    )  # fmt: skip
    axes.grid(visible=False)
    label(axes, "Share of each class", "", "")
    return figure


def histograms(panels: Mapping[str, Mapping[str, ArrayLike]], title: str) -> Figure:
    """Return one histogram per panel, one line per class, each in percent of its files.

    Args:
        panels: name of the axis (with its unit) to values by class. Of more than ten classes
            all values are drawn as one line.
        title: above the figure.
    """
    drawn = {name: _pooled(groups) for name, groups in panels.items()}
    columns = min(2, max(1, len(drawn)))
    rows = -(-len(drawn) // columns)
    figure = Figure(
        figsize=(4.2 * columns, 2.7 * rows + 0.9), layout="constrained", facecolor="white", dpi=DPI
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(drawn) :]:
        axes.set_axis_off()
    for axes, (name, groups) in zip(grid.flat, drawn.items(), strict=False):
        tidy(axes)
        edges = _edges([np.asarray(values, dtype=float) for values in groups.values()])
        for index, (group, values) in enumerate(groups.items()):
            array = np.asarray(values, dtype=float)
            weights = np.full(len(array), 100 / max(len(array), 1))
            axes.hist(
                array, bins=edges.tolist(), weights=weights, histtype="stepfilled",
                facecolor=(color(index), 0.15), edgecolor=color(index), linewidth=1.4,
                linestyle=dash(index // 7 if len(groups) > 7 else index),
                label=f"{short(group, 22, 1)} ({len(array)})",
            )  # fmt: skip
        if _whole(edges + 0.5):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        label(axes, "", name, "files (%)")
    figure.suptitle(plain(title), fontsize=11, x=0.02, ha="left", color=INK)
    if drawn:
        legend_below(figure, grid.flat[0], columns=3)
    return figure


def contact_sheet(
    groups: Sequence[Sequence[tuple[str, NDArray[np.float32]]]], title: str, most: int = 6
) -> Figure:
    """Return one row of pictures per group, each with its text beneath.

    Args:
        groups: per group ``(text, picture)``; a picture is ``(H, W)`` in [0, 1].
        title: above the sheet.
        most: pictures per row; what is left out is counted at the end of the row.
    """
    rows = max(len(groups), 1)
    figure = Figure(
        figsize=(1.75 * most, 2.3 * rows + 0.5), layout="constrained", facecolor="white", dpi=110
    )
    grid = figure.subplots(rows, most, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for line, group in zip(grid, groups, strict=False):
        for place, (axes, (text, picture)) in enumerate(zip(line, group, strict=False)):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
            left = len(group) - most
            more = f"\n+ {left} more" if place == most - 1 and left > 0 else ""
            lines = "\n".join(short(part, 24, 2) for part in text.split("\n"))
            axes.set_xlabel(f"{lines}{more}", fontsize=6.5, color=INK)
    figure.suptitle(plain(title), fontsize=11, x=0.02, ha="left", color=INK)
    return figure


def shortcut_bars(rows: Sequence[tuple[str, float, float, float]], clear: float) -> Figure:
    """Return a point with its interval per group of trivial features, the best at the top.

    Args:
        rows: name, AUROC, low and high end of its interval.
        clear: where a group begins to be called a shortcut.
    """
    figure, axes = new_figure(6.0, 1.3 + 0.34 * len(rows))
    for place, (_, value, low, high) in enumerate(rows):
        strong = low >= clear
        axes.plot([low, high], [place, place], color=color(1 if strong else 0), linewidth=2.2)
        axes.plot([value], [place], "o" if strong else "s", color=color(1 if strong else 0))
        axes.text(1.01, place, f"{value:.2f}", va="center", fontsize=8.5, color=INK)
    axes.axvline(0.5, color=FAINT, linestyle=":", linewidth=1.2)
    axes.axvline(clear, color=FAINT, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), [plain(name) for name, *_ in rows])
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(min([0.4, *(r[2] for r in rows)]), 1.0))
    label(axes, "What trivial features say about the label", "AUROC (0.5: nothing)", "")
    return figure


def _pooled(groups: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    if len(groups) <= _MOST_CLASSES:
        return dict(groups)
    return {"all classes": np.concatenate([np.asarray(v, dtype=float) for v in groups.values()])}


def _edges(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    pooled = np.concatenate(arrays) if arrays else np.zeros(1)
    low, high = (float(pooled.min()), float(pooled.max())) if len(pooled) else (0.0, 1.0)
    if _whole(pooled):
        step = -(-(high - low + 1) // _BINS)
        return np.arange(low - 0.5, high + step, step)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1)


def _whole(values: NDArray[np.float64]) -> bool:
    """Return whether values are counts, such as pixels: bins then hold whole numbers."""
    return bool((values == np.rint(values)).all())
