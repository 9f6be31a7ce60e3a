"""Look at some volumes and settle what the configuration leaves open."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.config import InputConfig
from medfuse.data.image_facts import ImageFileError
from medfuse.data.plugin_reader import PluginReader
from medfuse.data.volume_dicom import is_dicom
from medfuse.data.volume_facts import VolumeHeader
from medfuse.data.volume_file import read_volume, volume_header
from medfuse.errors import ImageError
from medfuse.preprocessing.spread import spread
from medfuse.preprocessing.volume_grids import Grids, cropped_grids, oriented_grids
from medfuse.preprocessing.volume_size import (
    BUDGET,
    is_anisotropic,
    rounded,
    size_of,
    spacing_for,
    target_spacing,
    typical_extent,
    within_budget,
)

HEADERS = 50
VOLUMES = 8
CT_WINDOWS = ("lung", "mediastinum", "bone")
_AIR = -500
_MODALITIES = {"CT": "CT", "MR": "MR"}


@dataclass(frozen=True)
class _Look:
    """Some volumes: their headers, the intensities of a few of them, and what is odd."""

    headers: list[VolumeHeader] = field(default_factory=list)
    ranges: list[tuple[float, float]] = field(default_factory=list)
    errors: list[ImageFileError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def resolve_volumes(
    input: InputConfig,  # noqa: A002
    references: Sequence[str],
    readers: Sequence[PluginReader] = (),
) -> tuple[InputConfig, dict[str, Any]]:
    """Return the input of volumes without ``auto``, and a fingerprint of what was seen.

    Up to 50 headers and the voxels of up to 8 volumes are read, evenly spread. The modality is
    that of DICOM; other files whose values go below -500 are taken for CT.

    Args:
        input: as configured.
        references: of the training volumes.
        readers: of plugins, for files whose ending is theirs.

    Raises:
        ImageError: no volume can be read; names a file.
    """
    look = _look(references, readers)
    if not look.headers:
        first = look.errors[0] if look.errors else ImageFileError("NO_IMAGE", "inputs", "no file.")
        raise ImageError(first.code, f"{first} None of {len(references)} volumes can be read.")
    modality = _modality(look) if input.modality == "auto" else input.modality
    settled = {
        "kind": "volume",
        "modality": modality,
        "fit": "letterbox" if input.fit == "auto" else input.fit,
        **_intensity(input, modality, look),
    }
    grids = oriented_grids(input.orientation, look.headers)
    partial = input.model_copy(update=settled)
    open_size = input.size == "auto" or input.spacing == "auto"
    shown = grids
    if input.crop != "none" and open_size:
        found = cropped_grids(partial, spread(references, VOLUMES))
        shown = found if len(found.shapes) else grids
    spacing, size = _geometry(partial, grids.spacings, shown)
    if input.size == "auto" and math.prod(size) > BUDGET:
        look.warnings.append(_of_memory(size))
    resolved = partial.model_copy(update={"spacing": spacing, "size": size})
    return resolved, _fingerprint(grids, look)


def describe_volumes(input: InputConfig) -> str:  # noqa: A002
    """Return one line on a resolved input."""
    spacing = input.spacing
    return (
        f"{input.modality} volumes of {_times(input.shape)} voxels, spacing "
        f"{spacing if isinstance(spacing, str) else f'{_times(spacing)} mm'}, intensity by "
        f"{input.intensity}"
    )


def hounsfield(input: InputConfig) -> dict[str, Any]:  # noqa: A002
    """Return the windows of CT: three as channels, or one wide one where ``channels`` is given."""
    one = "channels" in input.model_fields_set and input.channels != len(CT_WINDOWS)
    windows = ("wide",) if one else CT_WINDOWS
    channels = input.channels if one else len(CT_WINDOWS)
    return {"intensity": "window", "windows": windows, "channels": channels}


def _look(references: Sequence[str], readers: Sequence[PluginReader]) -> _Look:
    look = _Look()
    whole = set(spread(references, VOLUMES))
    dicom = any(is_dicom(reference.partition("::")[0]) for reference in whole)
    for reference in spread(references, 2 * VOLUMES if dicom else HEADERS):
        try:
            if reference not in whole:
                look.headers.append(volume_header(reference, readers))
                continue
            volume = read_volume(reference, readers)
        except ImageFileError as error:
            look.errors.append(error)
            continue
        look.headers.append(volume.header)
        look.ranges.append((float(volume.pixels.min()), float(volume.pixels.max())))
    return look


def _modality(look: _Look) -> str:
    found = Counter(_MODALITIES.get(header.modality, "") for header in look.headers)
    named = {name: count for name, count in found.items() if name}
    if len(named) > 1:
        look.warnings.append(f"the volumes are of several modalities: {named}")
        return "other"
    if named:
        return next(iter(named))
    if look.ranges and float(np.median([low for low, _ in look.ranges])) < _AIR:
        look.warnings.append(f"values go below {_AIR}: the volumes are taken for CT in HU")
        return "CT"
    return "other"


def _intensity(input: InputConfig, modality: str, look: _Look) -> dict[str, Any]:  # noqa: A002
    inside = modality == "MR" if input.foreground == "auto" else input.foreground
    settled: dict[str, Any] = {"intensity": input.intensity, "foreground": inside}
    if input.intensity != "auto":
        return settled
    if input.bounds:
        return {**settled, "intensity": "window"}
    if modality == "CT":
        return {**settled, **hounsfield(input)}
    eight = all(header.bits == 8 and header.limits for header in look.headers)
    plain = "range" if eight else "percentile"
    return {**settled, "intensity": "zscore" if modality == "MR" else plain}


def _geometry(
    input: InputConfig,  # noqa: A002
    spacings: NDArray[np.float64],
    shown: Grids,
) -> tuple[Any, tuple[int, ...]]:
    """Return spacing and size: the scale in mm is kept, and a typical volume fits.

    Args:
        input: with modality and intensity settled.
        spacings: of all volumes.
        shown: what the crop leaves of them.
    """
    if input.spacing == "none" or (input.spacing == "auto" and np.isnan(spacings).any()):
        extent = np.median(shown.shapes, axis=0).tolist()
        size = size_of(extent, within_budget(extent, (1.0, 1.0, 1.0)))
        return "none", size if input.size == "auto" else input.size
    extent = typical_extent(shown.shapes * np.nan_to_num(shown.spacings, nan=1.0))
    if isinstance(input.spacing, tuple):
        fits = size_of(extent, input.spacing)
        return input.spacing, fits if input.size == "auto" else input.size
    best = target_spacing(spacings)
    if input.size == "auto":
        fine = rounded(within_budget(extent, best))
        return fine, size_of(extent, fine)
    return rounded(spacing_for(extent, best, input.size)), input.size


def _of_memory(size: Sequence[int]) -> str:
    return (
        f"at the given spacing a volume takes {_times(size)} voxels, "
        f"{math.prod(size) / BUDGET:.1f} times what medfuse would choose, and as much more time "
        "and memory. Set a larger spacing, or auto."
    )


def _fingerprint(grids: Grids, look: _Look) -> dict[str, Any]:
    spacings, shapes = np.nan_to_num(grids.spacings, nan=1.0), grids.shapes
    median = np.median(spacings, axis=0)
    return {
        "kind": "volume",
        "volumes": len(look.headers),
        "unreadable": len(look.errors),
        "modalities": dict(sorted(Counter(h.modality or "unknown" for h in look.headers).items())),
        "geometry": not np.isnan(grids.spacings).any(),
        "anisotropic": is_anisotropic(median),
        "bits": None,
        "size_min": shapes.min(0).astype(int).tolist(),
        "size_median": np.median(shapes, axis=0).astype(int).tolist(),
        "size_max": shapes.max(0).astype(int).tolist(),
        "spacing_min": spacings.min(0).round(4).tolist(),
        "spacing_median": median.round(4).tolist(),
        "spacing_max": spacings.max(0).round(4).tolist(),
        "extent_median": np.median(shapes * spacings, axis=0).round(1).tolist(),
        "extent_max": (shapes * spacings).max(0).round(1).tolist(),
        "intensity_min": min((low for low, _ in look.ranges), default=0.0),
        "intensity_max": max((high for _, high in look.ranges), default=0.0),
        "warnings": list(look.warnings),
    }


def _times(sides: Sequence[float]) -> str:
    return " x ".join(f"{side:g}" for side in sides)
