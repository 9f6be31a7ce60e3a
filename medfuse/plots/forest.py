"""Values with their intervals, one a row: candidates side by side, or differences from zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from medfuse.plots.style import FAINT, INK, color, label, legend_below, new_figure, short

_MARKS = ("o", "s", "D", "^", "v", "P", "X")


@dataclass(frozen=True)
class ForestRow:
    """One row of a forest plot.

    Attributes:
        name: at the left.
        value: where the mark stands; ``None`` draws nothing.
        low: lower end of the line; ``None`` draws no line.
        high: its upper end.
        group: rows of one group share color and mark.
        sure: the mark is filled.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    group: str
    sure: bool = True


def forest(rows: Sequence[ForestRow], title: str, axis: str, zero: float | None = None) -> Figure:
    """Return marks with intervals, top to bottom in the order given.

    Args:
        rows: at least one.
        title: of the figure.
        axis: name of the values.
        zero: where a dotted line stands: no difference.
    """
    figure, axes = new_figure(7.4, 1.5 + 0.32 * len(rows))
    groups = list(dict.fromkeys(row.group for row in rows))
    named: set[str] = set()
    if zero is not None:
        axes.axvline(zero, color=FAINT, linewidth=1, linestyle=":")
    for place, row in enumerate(rows):
        number = groups.index(row.group)
        if row.value is None:
            axes.text(0.5, place, "undefined", fontsize=8, transform=axes.get_yaxis_transform())
            continue
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [place, place], color=color(number), linewidth=1.6)
        axes.plot(
            [row.value], [place], linestyle="none", marker=_MARKS[number % len(_MARKS)],
            color=color(number), markersize=6, markeredgewidth=1.4,
            markerfacecolor=color(number) if row.sure else "white",
            label=None if row.group in named else row.group,
        )  # fmt: skip
        named.add(row.group)
    axes.set_yticks(range(len(rows)), [short(row.name, 44, 1) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    label(axes, title, axis, "")
    if len(named) > 1:
        legend_below(figure, axes, columns=min(4, len(named)))
    return figure
