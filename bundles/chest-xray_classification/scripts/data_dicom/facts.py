"""What listing and reading give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Series:
    """One readable series.

    Attributes:
        key: first 12 hexadecimal digits of the SHA-256 of its SeriesInstanceUID.
        modality: DICOM Modality: ``CT``, ``MR``, ``DX``, ...
        files: all its files, sorted, further copies of an instance included.
        count: its instances, copies counted once.
        volume: it holds slices, not projections or photographs.
        frames: most frames that one of its files holds.
        patient: keyed hash of its PatientID; empty where there is none, or no key was given.
    """

    key: str
    modality: str
    files: tuple[str, ...]
    count: int
    volume: bool = True
    frames: int = 1
    patient: str = ""


@dataclass(frozen=True)
class Skipped:
    """Files that were left out for one reason.

    Attributes:
        code: one of `refusal.SKIPS`.
        count: of files.
        detail: the reason in words.
        files: which; a folder that may not be opened is one.
    """

    code: str
    count: int
    detail: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """What lies at a path: the series that can be tried, and what was left out."""

    series: tuple[Series, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class DicomImage:
    """One volume, or one picture.

    Attributes:
        pixels: float32. A volume is ``(X, Y, Z)``: column, row, slice, like nibabel's; in CT
            Hounsfield units, else rescaled values. A picture is ``(H, W)`` or, in color,
            ``(H, W, 3)``: in [0, 1], black is low; a single CT or MR slice keeps its values.
        affine: 4x4 float64, voxel index to RAS+ mm, sheared where the gantry was tilted; ``None``
            for a picture.
        spacing: mm along each spatial axis of ``pixels``, or ``None`` where unknown.
        modality: DICOM Modality.
        bits: stored per sample.
        events: ``(code, detail)`` of each choice that reading took, codes of `refusal.EVENTS`.
    """

    pixels: NDArray[np.float32]
    affine: NDArray[np.float64] | None
    spacing: tuple[float, ...] | None
    modality: str
    bits: int
    events: tuple[tuple[str, str], ...] = ()
