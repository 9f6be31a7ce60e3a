"""Figures on their way to the disk and to a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medfuse import plots
from medfuse.report import Figure, embed_figure


class Gallery:
    """Draws figures, keeps each as a file and as part of the page.

    Args:
        folder: for the PNG files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures: list[Figure] = []

    def add(self, name: str, drawing: Any, caption: str) -> None:
        """Write ``name.png`` and remember the figure for the page."""
        plots.save_figure(drawing, self.folder / f"{name}.png")
        self.figures.append(embed_figure(drawing, caption))
