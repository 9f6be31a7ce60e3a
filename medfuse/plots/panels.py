"""Pictures in named columns, row by row: what a file becomes step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from medfuse.plots.style import DPI, INK, plain, short

_CELL = 1.35
_LABEL = 1.9


@dataclass(frozen=True, eq=False)
class PanelRow:
    """One row.

    Attributes:
        label: at its left; each line of it is shortened.
        panels: by column ``(H, W)`` in [0, 1] or ``(H, W, 3)``; an absent one stays empty.
    """

    label: str
    panels: Mapping[str, NDArray[np.float32]]


def panel_grid(rows: Sequence[PanelRow], title: str) -> Figure:
    """Return the rows under the names of their columns, in the order of the first row's."""
    columns = list(dict.fromkeys(name for row in rows for name in row.panels)) or [""]
    count = max(len(rows), 1)
    figure = Figure(
        figsize=(_CELL * len(columns) + _LABEL, _CELL * count + 0.8),
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01),
        facecolor="white",
        dpi=DPI,
    )
    grid = figure.subplots(count, len(columns), squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(short(name, 16, 2), fontsize=8, color=INK)
    for line, row in zip(grid, rows, strict=False):
        label = "\n".join(short(part, 22, 2) for part in row.label.split("\n") if part)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7, color=INK)
        for axes, name in zip(line, columns, strict=True):
            if name in row.panels:
                _show(axes, row.panels[name])
    figure.suptitle(plain(title), fontsize=11, x=0.02, ha="left", color=INK)
    return figure


def _show(axes: Axes, picture: NDArray[np.float32]) -> None:
    """Draw the picture in the middle of a square, so that the columns stay in line."""
    height, width = picture.shape[:2]
    shown = np.clip(picture, 0, 1)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    side, row, column = max(height, width) / 2, (height - 1) / 2, (width - 1) / 2
    axes.set(xlim=(column - side, column + side), ylim=(row + side, row - side))
