"""The confusion matrix, readable from 2 to 20 classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from medfuse.plots.style import INK, label, new_figure, short


def confusion_matrix(
    counts: ArrayLike, classes: Sequence[str], title: str = "Confusion matrix"
) -> Figure:
    """Return the matrix with the count and the percentage of the row in every cell.

    Args:
        counts: ``(K, K)``; rows are true classes, columns predicted ones.
        classes: K names.
        title: above the matrix.
    """
    matrix = np.asarray(counts)
    total = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    size = min(10.0, max(3.3, 0.62 * len(classes) + 1.4))
    figure, axes = new_figure(size + 1.5, size + 0.4)
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label("share of the true class", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    _name_axes(axes, classes)
    _write_cells(axes, matrix, shares)
    label(axes, title, "predicted class", "true class")
    return figure


def _name_axes(axes: Axes, classes: Sequence[str]) -> None:
    names = [short(name) for name in classes]
    upright = len(classes) > 4 or max(len(line) for n in names for line in n.split("\n")) > 10
    places = range(len(classes))
    axes.set_yticks(places, names, fontsize=8.5)
    axes.set_xticks(places, names, fontsize=8.5)
    if upright:
        axes.tick_params(axis="x", labelrotation=40)
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)


def _write_cells(axes: Axes, matrix: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    crowded = len(matrix) > 10
    size = 7 if crowded else 8.5
    for row, column in np.ndindex(matrix.shape):
        count, share = matrix[row, column], shares[row, column]
        if crowded and count == 0:
            continue
        text = f"{count}\n{100 * share:.0f} %" if not crowded else f"{count}\n{100 * share:.0f}%"
        ink = "white" if share > 0.55 else INK
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=size)
