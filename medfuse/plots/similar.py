"""Pictures in rows with a text under each: a case and what is like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medfuse.plots.style import DPI, INK, plain, short

_CELL = 1.5


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One row.

    Attributes:
        label: at its left.
        pictures: ``(H, W)`` or ``(H, W, 3)`` in [0, 1].
        texts: under each; each of up to two lines is shortened.
    """

    label: str
    pictures: Sequence[NDArray[np.float32]]
    texts: Sequence[str]


def similar_cases(rows: Sequence[SheetRow], title: str) -> Figure:
    """Return the rows, the first picture of each set apart by its frame."""
    columns = max(len(row.pictures) for row in rows)
    figure = Figure(
        figsize=(_CELL * columns + 1.2, (_CELL + 0.45) * len(rows) + 0.6), layout="constrained",
        facecolor="white", dpi=DPI,
    )  # fmt: skip
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(short(row.label, 20, 2), fontsize=8, color=INK)
        line[0].spines[:].set_visible(True)
        for axes, picture, text in zip(line, row.pictures, row.texts, strict=False):
            shown = np.clip(picture, 0, 1)
            axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
            lines = [short(part, 20, 1) for part in text.split("\n")]
            axes.set_xlabel("\n".join(lines), fontsize=7.5, color=INK)
    figure.suptitle(plain(title), fontsize=10, x=0.01, ha="left", color=INK)
    return figure
