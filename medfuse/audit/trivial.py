"""Trivial features: what a file shows without anybody looking at what it is a picture of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.audit.look import Look
from medfuse.audit.scan import Seen
from medfuse.data import Case
from medfuse.data.cells import holds_cells, read_cells

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureGroup:
    """Features of one origin.

    Attributes:
        name: as shown.
        about: what it stands for, in a few words.
        acquired: it tells of how and where the file was made, nothing of the patient.
        columns: a row of numbers for a file; ``None`` where the case says it.
        advice: what to do where it predicts the label.
    """

    name: str
    about: str
    acquired: bool
    columns: Callable[[Look], Sequence[float]] | None
    advice: str


def _size(look: Look) -> Sequence[float]:
    padded = (*look.shape, 1)[:3]
    return (*padded, *(look.spacing or (0.0, 0.0, 0.0)), 0.0)[:6]


def _aspect(look: Look) -> Sequence[float]:
    first, second = look.shape[:2]
    return (second / first,)


def _text(text: str) -> Sequence[float]:
    """Return numbers that differ where texts do, the same on every machine."""
    return tuple(float(byte) for byte in text.encode()[:6].ljust(6))


def _kind(look: Look) -> Sequence[float]:
    return (*_text(look.kind), look.channels)


def _modality(look: Look) -> Sequence[float]:
    return _text(look.modality)


def _bits(look: Look) -> Sequence[float]:
    return (look.bits,)


def _compression(look: Look) -> Sequence[float]:
    samples = float(np.prod(look.shape)) * look.channels
    return (look.size / samples, look.quantization)


def _border(look: Look) -> Sequence[float]:
    return (*look.border, *look.margins)


def _corners(look: Look) -> Sequence[float]:
    return look.corners


def _intensity(look: Look) -> Sequence[float]:
    return (look.mean, look.std, *look.percentiles)


_EXPORT = "Export the files of all classes in one way."
_FRAME = "Crop to the foreground, or mask the frame and see whether the result stays."

GROUPS: tuple[FeatureGroup, ...] = (
    FeatureGroup("size", "height, width, slices, spacing", True, _size, _EXPORT),
    FeatureGroup("aspect", "width over height", True, _aspect, "Set inputs.NAME.fit: letterbox."),
    FeatureGroup("file type", "format and channels", True, _kind, _EXPORT),
    FeatureGroup("modality", "as the header says", True, _modality, "One modality per input."),
    FeatureGroup("bit depth", "bits per sample", True, _bits, _EXPORT),
    FeatureGroup("compression", "bytes per pixel, JPEG tables", True, _compression, _EXPORT),
    FeatureGroup("border", "outermost 2 %, black margins", True, _border, _FRAME),
    FeatureGroup("corners", "brightness, edges as of burnt-in text", True, _corners, _FRAME),
    FeatureGroup(
        "intensity",
        "mean, spread and percentiles",
        False,
        _intensity,
        "It may be the disease or the device: compare the classes in the sample grid.",
    ),
)
SITE = FeatureGroup(
    "site",
    "where the case comes from",
    True,
    None,
    "Balance the classes within each site, and test on a site that is held out.",
)
PRESENCE = FeatureGroup(
    "inputs present",
    "which inputs and cells a case has",
    True,
    None,
    "Raise training.input_dropout, and test on cases that have every input.",
)
TOGETHER = FeatureGroup("all acquired", "all but intensity, together", True, None, _EXPORT)


def feature_table(seen: Sequence[Seen]) -> dict[str, Floats]:
    """Return, per group, an array ``(N, F)``; groups that are the same in every file are left out.

    ``site`` is there as well where the cases name one.
    """
    tables = {
        group.name: np.array([group.columns(item.look) for item in seen], dtype=np.float64)
        for group in GROUPS
        if group.columns
    }
    sites = sorted({item.case.site for item in seen})
    names = np.array([[item.case.site == site for site in sites] for item in seen], np.float64)
    tables = {"site": names, **tables}
    return {name: table for name, table in tables.items() if _varies(table)}


def presence_table(cases: Sequence[Case]) -> Floats | None:
    """Return ``(N, P)`` of 0 and 1: which inputs, and which cells of tables, each case has.

    ``None`` where all cases have the same.
    """
    known = [_present(case) for case in cases]
    names = sorted(set().union(*known))
    table = np.array([[name in there for name in names] for there in known], np.float64)
    return table if _varies(table) else None


def _present(case: Case) -> frozenset[tuple[str, str]]:
    tables = {name: text for name, text in case.inputs.items() if holds_cells(text)}
    cells = {(name, column) for name, text in tables.items() for column in read_cells(text)}
    return frozenset({(name, "") for name in case.inputs} | cells)


def _varies(table: Floats) -> bool:
    return len(table) > 0 and bool((table != table[0]).any())
