"""Pictures are small, and the format fits them."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure as Drawing
from PIL import Image

from medfuse.report import embed_figure, embed_image


def _decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


@pytest.mark.parametrize("shape", [(1, 50, 200), (3, 50, 200), (2, 50, 200), (1, 50, 200, 7)])
def test_thumbnails_keep_the_aspect_and_stay_small(shape: tuple[int, ...]) -> None:
    image = _decoded(embed_image(np.full(shape, 0.5, np.float32)))
    assert image.size == (96, 24)
    assert image.mode == ("RGB" if shape[0] == 3 else "L")


def test_rows_come_first_in_a_thumbnail() -> None:
    pixels = np.zeros((1, 4, 8), np.float32)
    pixels[0, 0] = 1
    assert np.asarray(_decoded(embed_image(pixels)))[0].min() == 255


def test_intensities_out_of_range_are_clipped_not_wrapped() -> None:
    values = np.asarray(_decoded(embed_image(np.array([[[-0.5, 1.5]]], np.float32))))
    assert values.tolist() == [[0, 255]]


def test_a_plain_figure_is_svg_and_a_heavy_one_png() -> None:
    light, heavy = Drawing(), Drawing()
    light.add_subplot().plot([0, 1])
    heavy.add_subplot().plot(*np.random.default_rng(0).random((2, 20_000)), "o")
    assert embed_figure(light, "a").uri.startswith("data:image/svg+xml;base64,")
    assert embed_figure(heavy, "a").uri.startswith("data:image/png;base64,")


def test_a_heavy_figure_is_not_drawn_again_where_its_png_is_at_hand() -> None:
    heavy = Drawing()
    heavy.add_subplot().plot(*np.random.default_rng(0).random((2, 20_000)), "o")
    assert base64.b64decode(embed_figure(heavy, "a", b"drawn").uri.split(",")[1]) == b"drawn"
    light = Drawing()
    assert embed_figure(light, "a", b"drawn").uri.startswith("data:image/svg+xml;base64,")
