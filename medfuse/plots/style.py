"""Colors, lines, sizes and names that every figure shares."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import IO, Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medfuse.storage import atomic_path

# Okabe and Ito, "Color Universal Design" (2008), without black; the darkest first.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)))

INK = "#222222"
FAINT = "#9a9a9a"
DPI = 160


def color(index: int) -> str:
    """Return the color of the ``index``-th series; it repeats after seven."""
    return _PALETTE[index % len(_PALETTE)]


def dash(index: int) -> Any:
    """Return a line style, so that series differ in gray too."""
    return _DASHES[index % len(_DASHES)]


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a white figure of ``width`` x ``height`` inches with one axes."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white", dpi=DPI)
    axes = figure.add_subplot()
    tidy(axes)
    return figure, axes


def tidy(axes: Axes) -> None:
    """Remove what carries no information, and mute the grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Set the title and the names of both axes; class names are never read as TeX."""
    axes.set_title(plain(title), fontsize=11, color=INK, loc="left")
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)


def legend_below(figure: Figure, axes: Axes, columns: int = 1) -> None:
    """Put the legend under the axes, where it covers nothing."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False
    )


def plain(text: str) -> str:
    """Return ``text`` so that a dollar sign does not start a formula."""
    return text.replace("$", r"\$")


def short(name: str, width: int = 18, lines: int = 2) -> str:
    """Return a name on at most ``lines`` lines of ``width``; the middle of a long one is cut.

    The ends of names tell them apart (``bacterial pneumonia 1`` and ``2``), so both stay.
    """
    clean = " ".join(name.split()) or "(empty)"
    room = width * lines
    while True:
        kept = _without_middle(clean, room)
        wrapped = textwrap.wrap(kept, width)
        if len(wrapped) <= lines:
            return plain("\n".join(wrapped))
        room -= 1


def _without_middle(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    tail = (room - 1) // 2
    return f"{text[: room - 1 - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"


def save_figure(figure: Figure, path: Path | str, mode: int = 0o644) -> Path:
    """Write ``figure``, whole or not at all, in the format that the suffix of ``path`` names.

    Args:
        figure: to be written.
        path: of the file.
        mode: its permissions.

    Raises:
        OutputError: the file cannot be written.
    """
    target = Path(path)
    with atomic_path(target, mode) as temporary:
        draw_figure(figure, temporary, target.suffix.lstrip(".").lower())
    return target


def draw_figure(figure: Figure, target: Path | IO[bytes], kind: str) -> None:
    """Draw ``figure`` as PNG, SVG or PDF; the same figure is the same bytes.

    Its parts are placed when it is first drawn, and stay: further formats cost only the drawing.
    """
    _place(figure)
    # Dates, the program's version and random names in SVG would make every file another.
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "medfuse"}):
        figure.savefig(target, format=kind, dpi=DPI, metadata=undated.get(kind))


def _place(figure: Figure) -> None:
    """Solve the layout, which matplotlib otherwise does for every format, with a drawing each."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    kept = figure.dpi
    figure.set_dpi(DPI)
    engine.execute(figure)
    figure.set_dpi(kept)
    figure.set_layout_engine(None)
