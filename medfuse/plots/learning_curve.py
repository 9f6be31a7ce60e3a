"""How good candidates become with more cases to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from medfuse.plots.style import color, dash, label, legend_below, new_figure, short

_MARKS = ("o", "s", "D", "^", "v", "P", "X")


def learning_curve(
    curves: Mapping[str, Sequence[Mapping[str, float]]], measure: str = "AUROC"
) -> Figure:
    """Return one line per candidate over the number of training cases, on a log scale.

    Args:
        curves: by candidate, points of ``cases``, ``value``, and ``low`` and ``high`` of the bar.
        measure: name of the values.
    """
    figure, axes = new_figure(6.4, 4.3 + 0.2 * len(curves))
    sizes = sorted({point["cases"] for points in curves.values() for point in points})
    for number, (name, points) in enumerate(curves.items()):
        x = [point["cases"] * 1.02 ** (number - (len(curves) - 1) / 2) for point in points]
        y = [point["value"] for point in points]
        bars = [[p["value"] - p["low"] for p in points], [p["high"] - p["value"] for p in points]]
        axes.errorbar(
            x, y, yerr=bars, color=color(number), linestyle=dash(number), linewidth=1.7,
            marker=_MARKS[number % len(_MARKS)], markersize=5, capsize=2.5, elinewidth=1,
            label=short(name, 46, 1),
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    label(axes, "Learning curve", "cases to learn from (log scale)", measure)
    legend_below(figure, axes)
    return figure
