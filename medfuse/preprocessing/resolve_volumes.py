"""Look at some volumes and settle what the configuration leaves open."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from medfuse.config import InputConfig
from medfuse.data.image_facts import ImageFileError
from medfuse.data.plugin_reader import PluginReader
from medfuse.data.volume_dicom import is_dicom
from medfuse.data.volume_facts import VolumeHeader
from medfuse.data.volume_file import read_volume, volume_header
from medfuse.errors import ImageError
from medfuse.preprocessing.volume_size import (
    ANISOTROPIC,
    rounded,
    size_of,
    spacing_for,
    target_spacing,
    within_budget,
)

HEADERS = 50
VOLUMES = 8
CT_WINDOWS = ("lung", "mediastinum", "bone")
_AIR = -500
_MODALITIES = {"CT": "CT", "MR": "MR"}
_LOGGER = logging.getLogger("medfuse")


@dataclass(frozen=True)
class _Look:
    """Some volumes: their headers, and the intensities of a few of them."""

    headers: list[VolumeHeader] = field(default_factory=list)
    ranges: list[tuple[float, float]] = field(default_factory=list)
    errors: list[ImageFileError] = field(default_factory=list)


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
    spacing, size = _geometry(input, look.headers)
    settled = {
        "kind": "volume",
        "modality": modality,
        "size": size,
        "spacing": spacing,
        "fit": "letterbox" if input.fit == "auto" else input.fit,
        **_intensity(input, modality, look),
    }
    resolved = input.model_copy(update=settled)
    _LOGGER.info(
        "input: %s volumes of %s voxels, spacing %s mm, intensity by %s",
        modality,
        " x ".join(map(str, size)),
        spacing if spacing == "none" else " x ".join(f"{step:g}" for step in spacing),
        resolved.intensity,
    )
    return resolved, _fingerprint(input, look)


def spread(references: Sequence[str], count: int) -> list[str]:
    """Return at most ``count`` of the sorted references, evenly spread."""
    ordered = sorted(references)
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered)))
    return [ordered[index] for index in np.unique(places.round().astype(int))]


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
        _LOGGER.warning("the volumes are of several modalities: %s", named)
        return "other"
    if named:
        return next(iter(named))
    if look.ranges and float(np.median([low for low, _ in look.ranges])) < _AIR:
        _LOGGER.warning("values go below %d: the volumes are taken for CT in HU", _AIR)
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
    headers: Sequence[VolumeHeader],
) -> tuple[Any, tuple[int, ...]]:
    """Return spacing and size."""
    spacings, shapes = _oriented(input.orientation, headers)
    known = all(header.affine is not None for header in headers)
    if input.spacing == "none" or (input.spacing == "auto" and not known):
        ones = (1.0, 1.0, 1.0)
        extent = np.median(shapes, axis=0).tolist()
        size = input.size
        return "none", size_of(extent, within_budget(extent, ones)) if size == "auto" else size
    extent = np.median(shapes * spacings, axis=0).tolist()
    if isinstance(input.spacing, tuple):
        larger = within_budget(extent, input.spacing)
        size = size_of(extent, larger) if input.size == "auto" else input.size
        return input.spacing, size
    best = target_spacing(spacings)
    if input.size == "auto":
        fine = within_budget(extent, best)
        return rounded(fine), size_of(extent, fine)
    return rounded(spacing_for(extent, best, input.size)), input.size


def _oriented(
    codes: str, headers: Sequence[VolumeHeader]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return spacings (mm, 1 where unknown) and shapes, ``(N, 3)``, in the order of ``codes``."""
    nibabel: Any = orientations
    spacings, shapes = [], []
    for header in headers:
        order = [0, 1, 2]
        if header.affine is not None:
            stored = nibabel.io_orientation(header.affine)
            turn = nibabel.ornt_transform(stored, nibabel.axcodes2ornt(tuple(codes)))
            order = np.argsort(turn[:, 0]).tolist()
        spacing = header.spacing or (1.0, 1.0, 1.0)
        spacings.append([spacing[axis] for axis in order])
        shapes.append([header.shape[axis] for axis in order])
    return np.array(spacings, float), np.array(shapes, float)


def _fingerprint(input: InputConfig, look: _Look) -> dict[str, Any]:  # noqa: A002
    spacings, shapes = _oriented(input.orientation, look.headers)
    median = np.median(spacings, axis=0)
    return {
        "kind": "volume",
        "volumes": len(look.headers),
        "unreadable": len(look.errors),
        "modalities": dict(sorted(Counter(h.modality or "unknown" for h in look.headers).items())),
        "geometry": all(header.affine is not None for header in look.headers),
        "anisotropic": bool(median.max() > ANISOTROPIC * np.sort(median)[1]),
        "bits": None,
        "size_min": shapes.min(0).astype(int).tolist(),
        "size_median": np.median(shapes, axis=0).astype(int).tolist(),
        "size_max": shapes.max(0).astype(int).tolist(),
        "spacing_min": spacings.min(0).round(4).tolist(),
        "spacing_median": median.round(4).tolist(),
        "spacing_max": spacings.max(0).round(4).tolist(),
        "intensity_min": min((low for low, _ in look.ranges), default=0.0),
        "intensity_max": max((high for _, high in look.ranges), default=0.0),
    }
