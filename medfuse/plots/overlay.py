"""Saliency over a picture: beside it with a colorbar, or pixel for pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medfuse.plots.style import DPI, INK, plain, short

COLORS = "inferno"  # rises evenly in lightness, also for the color-blind and in gray
_OPAQUE = 0.75
_PANEL = 2.5
_OUTLINE = "#4fd1ff"

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OverlayRow:
    """A picture and what lies over it.

    Attributes:
        picture: ``(H, W)`` or ``(H, W, 3)`` in [0, 1].
        maps: by title ``(H, W)`` of 0 and more; 1 is the strongest place of the case.
        mask: outlined, where it is known what should be found.
        aspect: height over width of a pixel.
        label: at its left.
    """

    picture: Floats
    maps: Mapping[str, Floats] = field(default_factory=dict)
    mask: NDArray[np.bool_] | None = None
    aspect: float = 1.0
    label: str = ""


def overlay_figure(rows: Sequence[OverlayRow], title: str, unit: str) -> Figure:
    """Return each row as its picture and its overlays, with one colorbar.

    Args:
        rows: with the same titles of maps.
        title: above.
        unit: what the colorbar measures.
    """
    columns = 1 + max(len(row.maps) for row in rows)
    tallest = [row.picture.shape[0] * row.aspect / row.picture.shape[1] for row in rows]
    height = sum(_PANEL * min(1.6, max(0.4, t)) for t in tallest)
    figure = Figure(
        figsize=(_PANEL * columns + 0.9, height + 0.9), layout="constrained",
        facecolor="white", dpi=DPI,
    )  # fmt: skip
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes in line:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        _show(line[0], row, None)
        line[0].set_ylabel(short(row.label, 14, 2) if row.label else "", fontsize=8, color=INK)
        for axes, values in zip(line[1:], row.maps.values(), strict=False):
            _show(axes, row, values)
    for axes, name in zip(grid[0], ["image", *rows[0].maps], strict=False):
        axes.set_title(short(name, 24, 2), fontsize=8.5, color=INK)
    bar = figure.colorbar(ScalarMappable(cmap=COLORS), ax=grid, fraction=0.03, pad=0.01, aspect=30)
    bar.set_label(plain(unit), fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    figure.suptitle(plain(title), fontsize=10, x=0.01, ha="left", color=INK)
    return figure


def blend(picture: Floats, values: Floats) -> NDArray[np.uint8]:
    """Return ``(H, W, 3)``: the picture under a map of [0, 1], each pixel where it was."""
    gray = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)
    color = colormaps[COLORS](np.clip(values, 0, 1))[..., :3]
    # Weak places stay the picture itself, so that nothing is tinted without evidence.
    opacity = _OPAQUE * np.sqrt(np.clip(values, 0, 1))[..., None]
    mixed = np.clip(gray, 0, 1) * (1 - opacity) + color * opacity
    pixels: NDArray[np.uint8] = (mixed * 255).round().astype(np.uint8)
    return pixels


def _show(axes: Axes, row: OverlayRow, values: Floats | None) -> None:
    shown = np.clip(row.picture, 0, 1) if values is None else blend(row.picture, values)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect=row.aspect, interpolation="antialiased")
    if row.mask is not None and row.mask.any() and not row.mask.all():
        axes.contour(row.mask.astype(float), [0.5], colors=_OUTLINE, linewidths=0.9)
    if values is not None and not float(values.max()) > 0:
        axes.text(
            0.5, 0.5, "nothing speaks for it", color="white", fontsize=8, ha="center",
            va="center", transform=axes.transAxes,
            bbox={"facecolor": "black", "alpha": 0.6, "edgecolor": "none"},
        )  # fmt: skip
