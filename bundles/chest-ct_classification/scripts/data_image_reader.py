"""MONAI's door to the image files.

This file is copied into every bundle, so it imports numpy, monai and its neighbors.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader  # noqa: TID253
from numpy.typing import NDArray

from .data_image_facts import ImageFacts; from .data_image_facts import ImageFileError
from .data_image_file import read_pixels
from .data_plugin_reader import PluginReader
from .data_rendering import OTHER_DEPTH; from .data_rendering import Rendering

_LOGGER = logging.getLogger(__name__)


class ImageFileReader(ImageReader):
    """MONAI's door to `read_pixels`.

    `read` only notes the file and `get_data` decodes it: `monai.transforms.LoadImage` hands a
    file whose `read` fails to its other readers, which would accept what is refused here.

    Args:
        scale: ``dtype`` maps the range of the stored type to [0, 1] (float must lie in it
            already); ``none`` gives the stored values.
        bits: refuse files of another bit depth.
        readers: of plugins, for files whose ending is theirs.
        others: makes pictures of those files, which are not refused then.
    """

    def __init__(
        self,
        scale: str = "dtype",
        bits: int | None = None,
        readers: Sequence[PluginReader] = (),
        others: Rendering | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.bits = bits
        self.others = others
        self.readers = tuple(readers)

    def verify_suffix(self, filename: Any) -> bool:  # noqa: ARG002
        """Return that any file may be tried: the first bytes decide, not the name."""
        return True

    def read(self, data: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Return the reference itself; one file only."""
        names = [data] if isinstance(data, str | os.PathLike) else list(data)
        if len(names) != 1:
            raise ValueError(f"one file is read at a time, found {len(names)}")
        return str(names[0])

    def get_data(self, img: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return float32 ``(H, W)`` or ``(H, W, 3)``, and the metadata that MONAI expects."""
        pixels, facts = read_pixels(img, self.readers)
        meta = {
            "original_channel_dim": float("nan") if pixels.ndim == 2 else -1,
            "spatial_shape": np.asarray(pixels.shape[:2]),
            "affine": np.eye(4),
            "bits": facts.bits,
        }
        for code, detail in self.told(facts):
            _LOGGER.info("%s: %s: %s", os.path.basename(str(img)), code, detail)  # noqa: PTH119
        return self.to_float(pixels, facts, img), meta

    def told(self, facts: ImageFacts) -> tuple[tuple[str, str], ...]:
        """Return ``(code, detail)`` of what is done to samples of another bit depth."""
        if self.others is None or self.bits is None or facts.bits == self.bits:
            return ()
        stored = facts.stored_bits or facts.bits
        return ((OTHER_DEPTH, f"{stored}-bit samples, made a picture as of {self.bits} bits"),)

    def to_float(
        self, pixels: NDArray[Any], facts: ImageFacts, reference: str
    ) -> NDArray[np.float32]:
        """Return the samples as float32, scaled as ``scale`` says.

        Raises:
            ImageFileError: another bit depth than ``bits``, or floats outside [0, 1].
        """
        if self.told(facts) and self.others is not None:
            return self.others(pixels, facts)
        if self.bits is not None and facts.bits != self.bits:
            raise ImageFileError(
                "BIT_DEPTH",
                reference,
                f"found {facts.bits}-bit samples, expected {self.bits}-bit as in training.",
            )
        if self.scale != "dtype":
            return pixels.astype(np.float32)
        if pixels.dtype.kind == "f":
            _require_unit_interval(pixels, reference)
            return pixels
        info = np.iinfo(pixels.dtype)
        values = pixels.astype(np.float32)
        if info.min:
            values -= np.float32(info.min)
        values /= np.float32(info.max - info.min)
        return values


def _require_unit_interval(pixels: NDArray[Any], reference: str) -> None:
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise ImageFileError(
            "OUT_OF_RANGE",
            reference,
            f"floats go from {low:g} to {high:g}, expected [0, 1]. Use percentile or window.",
        )
