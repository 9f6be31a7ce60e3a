"""Pictures inside the page: figures as SVG, images as small PNG, both as ``data:`` URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfuse.plots import draw_figure
from medfuse.report.content import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

_LARGEST_SVG = 400_000
_WIDE = 1.9


def embed_figure(drawing: Drawing, caption: str, png: bytes | None = None) -> Figure:
    """Return a matplotlib figure for the page: SVG, or PNG where the SVG would be large.

    A picture behind an ``img`` element cannot run scripts or reach the network, whatever
    text (class names, for example) was drawn into it.

    Args:
        drawing: the figure.
        caption: what it shows.
        png: the same figure, where it was drawn already.
    """
    stream: io.BytesIO = _Limited()
    kind = "svg+xml"
    try:
        draw_figure(drawing, stream, "svg")
    except _TooLargeError:
        kind, stream = "png", io.BytesIO(png or b"")
        if png is None:
            draw_figure(drawing, stream, "png")
    width, height = drawing.get_size_inches()
    uri = _uri(kind, stream.getvalue())
    return Figure(uri=uri, caption=caption, wide=bool(width > _WIDE * height))


def embed_image(pixels: NDArray[np.float32], size: int = 96) -> str:
    """Return a thumbnail of a canonical image as a ``data:`` URI.

    Args:
        pixels: ``(C, H, W)`` in [0, 1], or ``(C, H, W, D)``, of which the middle slice is shown;
            three channels are RGB, else the first is shown in gray.
        size: longest side of the thumbnail in pixels.
    """
    flat = pixels[..., pixels.shape[-1] // 2] if pixels.ndim == 4 else pixels
    shown = flat.transpose(1, 2, 0) if len(flat) == 3 else flat[0]
    image = Image.fromarray((np.clip(shown, 0, 1) * 255).round().astype(np.uint8))
    image.thumbnail((size, size))
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return _uri("png", stream.getvalue())


def is_embedded(uris: Sequence[str]) -> bool:
    """Tell whether every address is a picture inside the page."""
    return all(
        uri.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,")) for uri in uris
    )


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


class _TooLargeError(Exception):
    pass


class _Limited(io.BytesIO):
    """A file in memory that refuses to become too large: what is too large is not drawn on."""

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > _LARGEST_SVG:
            raise _TooLargeError
        return super().write(data)
