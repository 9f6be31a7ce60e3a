"""Figures on their way to the disk and to a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medfuse import plots
from medfuse.report import Figure, embed_figure


class Gallery:
    """Draws figures, keeps each as a file and as part of the page.

    The files are readable by their owner only, as the page is: some show images of patients.

    Args:
        folder: for the PNG files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.named: dict[str, Figure] = {}

    @property
    def figures(self) -> list[Figure]:
        """The figures in the order in which they were added."""
        return list(self.named.values())

    def add(self, name: str, drawing: Any, caption: str, *, wide: bool = False) -> None:
        """Write ``name.png`` and remember the figure for the page, there over its whole width."""
        file = plots.save_figure(drawing, self.folder / f"{name}.png", 0o600)
        figure = embed_figure(drawing, caption, file.read_bytes())
        self.named[name] = replace(figure, wide=wide or figure.wide)
