"""What one file shows when it is looked at: measures, a digest and a thumbnail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfuse.audit.middle_slices import SIDE
from medfuse.audit.picture import (
    Picture,
    displayed,
    open_picture,
    quantization,
    stored_bytes,
)
from medfuse.data.plugin_reader import PluginReader

THUMBNAIL = 64
_PERCENTILES = (1, 50, 99)
_EDGE = 0.02
_CORNER = 0.12
_DARK = 0.03
_SKIPPED = "SKIPPED"


@dataclass(frozen=True, eq=False)
class Look:
    """One file, measured. Nothing in it names a file or a patient.

    Attributes:
        digest: of the decoded samples; equal for the same picture in two files, and for one
            volume however its axes are stored.
        thumbnail: uint8 ``(64, 64)`` of the displayed picture; of a volume its axial slice.
        shape: height and width; columns, rows and slices of a volume.
        channels: 1 or 3.
        spacing: mm along ``shape``, or ``None``.
        modality: DICOM's abbreviation; empty where unknown.
        bits: per stored sample.
        depth: 8, 16 or 32 bits as the samples of an image are read; 0 of a volume.
        kind: file type by content.
        size: bytes of the file; 0 inside an archive.
        quantization: mean of the JPEG tables, 0 without.
        mean: of the stored samples.
        std: of the stored samples.
        percentiles: first, fiftieth and ninety-ninth of the stored samples.
        border: mean and standard deviation of the outermost 2 %, of the picture in [0, 1].
        margins: dark share of the rows and columns from top, bottom, left and right.
        corners: mean and edge energy in each of the four corners.
        events: codes of the conversions that reading took.
        left_out: ``(code, files)`` of what lay beside the image and is none.
    """

    digest: str
    thumbnail: NDArray[np.uint8]
    shape: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...] | None
    modality: str
    bits: int
    depth: int
    kind: str
    size: int
    quantization: float
    mean: float
    std: float
    percentiles: tuple[float, float, float]
    border: tuple[float, float]
    margins: tuple[float, ...]
    corners: tuple[float, ...]
    events: tuple[str, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()


def look(reference: str, readers: Sequence[PluginReader] = ()) -> Look:
    """Return what a file shows.

    Args:
        reference: of the file.
        readers: of plugins, for files whose ending is theirs.

    Raises:
        ImageFileError: the file cannot be used; its code is stable.
    """
    picture = open_picture(reference, readers)
    shown = displayed(picture)
    low, middle, high = np.percentile(picture.gray, _PERCENTILES)
    return Look(
        digest=picture.digest,
        thumbnail=thumbnail(shown if len(picture.shape) == 2 else shown[:, :SIDE]),
        shape=picture.shape,
        channels=_channels(picture),
        spacing=picture.spacing,
        modality=picture.modality,
        bits=picture.bits,
        depth=picture.depth,
        kind=picture.kind,
        size=stored_bytes(reference),
        quantization=quantization(reference) if picture.kind == "JPEG" else 0.0,
        mean=float(picture.gray.mean()),
        std=float(picture.gray.std()),
        percentiles=(float(low), float(middle), float(high)),
        border=_border(shown),
        margins=_margins(shown),
        corners=_corners(shown),
        events=tuple(code for code, _ in picture.events if code != _SKIPPED),
        left_out=tuple(_left_out(picture)),
    )


def thumbnail(shown: NDArray[np.float32], side: int = THUMBNAIL) -> NDArray[np.uint8]:
    """Return the displayed picture as uint8 ``(side, side)``, averaged, not sampled."""
    image = Image.fromarray((shown * 255).round().astype(np.uint8))
    smooth = min(image.size) >= side
    method = Image.Resampling.BOX if smooth else Image.Resampling.BICUBIC
    return np.asarray(image.resize((side, side), method))


def _left_out(picture: Picture) -> Iterator[tuple[str, int]]:
    """Yield what the DICOM reader says it left out of a folder: ``LOCALIZER 1``."""
    for detail in (detail for code, detail in picture.events if code == _SKIPPED):
        code, _, count = detail.partition(" ")
        yield code, int(count)


def _channels(picture: Picture) -> int:
    color = picture.samples.ndim == 3 and len(picture.shape) == 2
    return int(picture.samples.shape[-1]) if color else 1


def _border(shown: NDArray[np.float32]) -> tuple[float, float]:
    width = max(1, round(_EDGE * min(shown.shape)))
    sides = (shown[:width], shown[-width:], shown[:, :width].T, shown[:, -width:].T)
    ring = np.concatenate([side.ravel() for side in sides])
    return float(ring.mean()), float(ring.std())


def _margins(shown: NDArray[np.float32]) -> tuple[float, ...]:
    """Return which share of the height (top, bottom) and width (left, right) is black."""
    shares = []
    for axis in (1, 0):
        lit = np.flatnonzero(shown.mean(axis) > _DARK)
        length = shown.shape[1 - axis]
        first, last = (int(lit[0]), int(lit[-1])) if len(lit) else (length, -1)
        shares += [first / length, (length - 1 - last) / length]
    return tuple(shares)


def _corners(shown: NDArray[np.float32]) -> tuple[float, ...]:
    """Return mean and mean absolute step of each corner: burnt-in text has many steps."""
    height, width = (max(2, round(_CORNER * length)) for length in shown.shape)
    values: list[float] = []
    for rows in (slice(None, height), slice(-height, None)):
        for columns in (slice(None, width), slice(-width, None)):
            corner = shown[rows, columns]
            values += [float(corner.mean()), float(np.abs(np.diff(corner, axis=1)).mean())]
    return tuple(values)
