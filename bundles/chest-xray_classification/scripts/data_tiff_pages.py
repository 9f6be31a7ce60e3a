"""The pages of a TIFF file, of files that claim one size and unpack to another too.

This file is copied into every bundle, so it imports numpy and its neighbor.
"""

from __future__ import annotations

import lzma
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .data_image_facts import ImageFileError

_MAX_PAGES = 10_000
_SLACK = 1 << 16
# tifffile unpacks a whole strip of these, however large it becomes.
_INFLATE: dict[int, Callable[[], Any]] = {
    8: zlib.decompressobj,
    32946: zlib.decompressobj,
    34925: lzma.LZMADecompressor,
}


def listed_pages(tiff: Any, path: str) -> list[Any]:
    """Return the pages of full size.

    Raises:
        ImageFileError: over 10,000 pages, or a page that leads back to an earlier one.
    """
    pages: list[Any] = []
    seen: set[int] = set()
    for page in tiff.pages:
        if page.offset in seen:
            raise ImageFileError("CORRUPT", path, "has pages that lead in a circle.")
        seen.add(page.offset)
        if len(seen) > _MAX_PAGES:
            raise ImageFileError("TOO_LARGE", path, f"has over {_MAX_PAGES} pages.")
        if not getattr(page, "is_reduced", False):
            pages.append(page)
    return pages


def require_bounded_strips(tiff: Any, page: Any, path: str) -> None:
    """Pass if no strip or tile of a page unpacks to more than the page has room for.

    Raises:
        ImageFileError: one does; it is not unpacked further.
    """
    inflate = _INFLATE.get(int(page.compression))
    if inflate is None:
        return
    room = 2 * math.prod(page.chunks) * np.dtype(page.dtype).itemsize + _SLACK
    for start, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        tiff.filehandle.seek(start)
        try:
            found = inflate().decompress(tiff.filehandle.read(count), room + 1)
        except (zlib.error, lzma.LZMAError):
            continue  # the decoder says what is wrong with it
        if len(found) > room:
            raise ImageFileError("CORRUPT", path, "unpacks to more than its pages hold.")
