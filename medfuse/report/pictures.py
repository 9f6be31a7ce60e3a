"""Pictures inside the page: figures as SVG, images as small PNG, both as ``data:`` URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfuse.report.content import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

_DPI = 150
_LARGEST_SVG = 400_000
_WIDE = 1.9


def embed_figure(drawing: Drawing, caption: str) -> Figure:
    """Return a matplotlib figure for the page: SVG, or PNG where the SVG would be large.

    A picture behind an ``img`` element cannot run scripts or reach the network, whatever
    text (class names, for example) was drawn into it.
    """
    stream = io.BytesIO()
    drawing.savefig(stream, format="svg", metadata={"Date": None})
    kind, data = "svg+xml", stream.getvalue()
    if len(data) > _LARGEST_SVG:
        stream = io.BytesIO()
        drawing.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
        kind, data = "png", stream.getvalue()
    width, height = drawing.get_size_inches()
    return Figure(uri=_uri(kind, data), caption=caption, wide=bool(width > _WIDE * height))


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
