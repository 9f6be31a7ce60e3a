"""Figures on their way to the disk and to a page."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from medfuse import plots
from medfuse.report import Figure, embed_figure
from medfuse.storage import write_bytes
from medfuse.workflows.meanwhile import Meanwhile

P = ParamSpec("P")


@dataclass(frozen=True)
class _Drawn:
    """A figure as a file and as part of the page."""

    png: bytes
    figure: Figure


class Gallery:
    """Draws figures, keeps each as a file and as part of the page.

    The files are readable by their owner only, as the page is: some show images of patients. Used
    as a context, it ends what still draws when the block is left.

    Args:
        folder: for the PNG files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._named: dict[str, Figure] = {}
        self._begun: list[Meanwhile[dict[str, _Drawn]]] = []

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        for begun in self._begun:
            begun.stop()

    @property
    def named(self) -> dict[str, Figure]:
        """The figures by name, in the order in which they were added."""
        while self._begun:
            for name, drawn in self._begun.pop(0).result().items():
                self._keep(name, drawn)
        return self._named

    @property
    def figures(self) -> list[Figure]:
        """The figures in the order in which they were added."""
        return list(self.named.values())

    def add(self, name: str, drawing: Any, caption: str, *, wide: bool = False) -> None:
        """Write ``name.png`` and remember the figure for the page, there over its whole width."""
        self._keep(name, _drawn(drawing, caption, wide))

    def meanwhile(
        self, draw: Callable[Concatenate[Gallery, P], None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Let ``draw(gallery, ...)`` add its figures while this process goes on.

        They are written when the figures are asked for, after those that were begun before.
        """
        self._begun.append(Meanwhile(partial(_collected, draw, *args, **kwargs)))

    def _keep(self, name: str, drawn: _Drawn) -> None:
        write_bytes(self.folder / f"{name}.png", drawn.png, 0o600)
        self._named[name] = drawn.figure


class _Collection(Gallery):
    """Keeps the figures in memory alone."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.drawn: dict[str, _Drawn] = {}

    def _keep(self, name: str, drawn: _Drawn) -> None:
        self.drawn[name] = drawn


def _collected(draw: Callable[..., None], *args: Any, **kwargs: Any) -> dict[str, _Drawn]:
    collection = _Collection()
    draw(collection, *args, **kwargs)
    return collection.drawn


def _drawn(drawing: Any, caption: str, wide: bool) -> _Drawn:
    stream = io.BytesIO()
    plots.draw_figure(drawing, stream, "png")
    figure = embed_figure(drawing, caption, stream.getvalue())
    return _Drawn(stream.getvalue(), replace(figure, wide=wide or figure.wide))
