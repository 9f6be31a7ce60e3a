"""A few images of every class, as the model gets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medfuse.plots.style import DPI, INK, short


def sample_grid(
    images: Mapping[str, Sequence[NDArray[np.float32]]], title: str = "Sample images per class"
) -> Figure:
    """Return one row of images per class.

    Args:
        images: per class a few canonical images ``(C, H, W)`` in [0, 1]; one channel is shown
            in gray, three as RGB, of a volume ``(C, H, W, D)`` the middle slice. Any other
            number of channels shows the first.
        title: above the grid.
    """
    wide = _widest([image for row in images.values() for image in row])
    fewest = 2 if wide > 2 else 4
    columns = max([fewest, *(len(row) for row in images.values())])
    rows = max(len(images), 1)
    figure = Figure(
        figsize=(1.25 * wide * columns + 1.4, 1.25 * rows + 0.5), layout="constrained",
        facecolor="white", dpi=DPI,
    )  # fmt: skip
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for line, (name, row) in zip(grid, images.items(), strict=False):
        line[0].set_ylabel(
            short(name, 14, 3), rotation=0, ha="right", va="center", fontsize=9, color=INK
        )
        for axes, image in zip(line, row, strict=False):
            _show(axes, image)
    figure.suptitle(title, fontsize=11, x=0.02, ha="left", color=INK)
    return figure


def _widest(images: Sequence[NDArray[np.float32]]) -> float:
    """Return width over height of the widest image, at least 1 and at most 3."""
    widths = [float(image.shape[2]) / float(image.shape[1]) for image in images]
    return min(3.0, max([1.0, *widths]))


def _show(axes: Axes, image: NDArray[np.float32]) -> None:
    pixels = image[..., image.shape[-1] // 2] if image.ndim == 4 else image
    shown = pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0]
    axes.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
