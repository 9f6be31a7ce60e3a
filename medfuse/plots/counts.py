"""How many cases of each class lie in each part of the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medfuse.plots.style import INK, color, label, legend_below, new_figure, short

_HATCHES = ("", "///", "...", "xx", "\\\\", "++")


def class_counts(
    counts: Mapping[str, Mapping[str, int]],
    classes: Sequence[str],
    sizes: Mapping[str, int] | None = None,
) -> Figure:
    """Return horizontal bars: one row per class, stacked by role, the total at the end.

    Args:
        counts: cases per class, by role: ``{"train": {"healthy": 120, ...}, ...}``.
        classes: names in order, top to bottom.
        sizes: cases by role, where one case may have several labels and count in several rows.
    """
    figure, axes = new_figure(6.3, 1.7 + 0.36 * len(classes))
    places, ends = np.arange(len(classes)), np.zeros(len(classes))
    for index, (role, per_class) in enumerate(counts.items()):
        widths = np.array([per_class.get(name, 0) for name in classes], dtype=float)
        size = sizes[role] if sizes else int(widths.sum())
        axes.barh(
            places, widths, left=ends, height=0.68, color=color(index), edgecolor="white",
            hatch=_HATCHES[index % len(_HATCHES)], linewidth=0.5,
            label=f"{short(role, 20, 1)} ({size})",
        )  # fmt: skip
        ends += widths
    for place, end in enumerate(ends.tolist()):
        axes.text(end, place, f" {int(end)}", va="center", ha="left", fontsize=8.5, color=INK)
    axes.set_yticks(places, [short(name, 26, 1) for name in classes])
    axes.set(ylim=(len(classes) - 0.4, -0.6), xlim=(0, max(ends.max(initial=0) * 1.08, 1)))
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    what = "with each label, by" if sizes else "per class and"
    label(axes, f"Cases {what} part of the split", "cases", "")
    legend_below(figure, axes, columns=4)
    return figure
