"""Look at some images and settle what the configuration leaves open."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medfuse.config import InputConfig
from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.plugin_reader import PluginReader
from medfuse.errors import ImageError
from medfuse.preprocessing.kind import kind_of
from medfuse.preprocessing.resolve_volumes import hounsfield, resolve_volumes, spread
from medfuse.preprocessing.tabular_fit import resolve_tabular

SAMPLE_SIZE = 64
KIND_SAMPLE = 5
IMAGE_SIZE = (224, 224)
_MODALITIES = {"CT": "CT", "MR": "MR", "CR": "XR", "DX": "XR", "MG": "XR", "RF": "XR", "XA": "XR"}
_LOGGER = logging.getLogger("medfuse")


@dataclass(frozen=True)
class _Look:
    reference: str
    bits: int
    signed: bool
    channels: int
    shape: tuple[int, int]
    low: float
    high: float
    modality: str


def resolve_input(
    input: InputConfig,  # noqa: A002
    references: Sequence[str],
    readers: Sequence[PluginReader] = (),
) -> tuple[InputConfig, dict[str, Any]]:
    """Return the input without ``auto``, and a fingerprint of the images it was resolved from.

    ``intensity: auto`` of images becomes ``range`` for 8 bits and floats within [0, 1], ``window``
    for CT slices of DICOM; 16-bit and other images, which seldom fill their type, become
    ``percentile``. A modality that DICOM does not tell becomes ``other``. At most 64 images are
    read, evenly spread; later ones that differ in bit depth are refused when they are loaded.
    Of volumes see `resolve_volumes`.

    Args:
        input: as configured.
        references: of the training images.
        readers: of plugins, for files whose ending is theirs.

    Raises:
        ImageError: no image can be read, or (code ``BIT_DEPTH``) the bit depth varies and the
            intensity is not by percentile; names a file.
    """
    if input.kind == "tabular":
        return resolve_tabular(input, references)
    kind = input.kind if input.kind != "auto" else _kind(input, references, readers)
    if kind == "volume":
        return resolve_volumes(input, references, readers)
    return _resolve_images(input, references, readers)


def _kind(
    input: InputConfig,  # noqa: A002
    references: Sequence[str],
    readers: Sequence[PluginReader],
) -> str:
    if input.size != "auto":
        return "volume" if len(input.size) == 3 else "image"
    found = Counter(kind_of(reference, readers) for reference in spread(references, KIND_SAMPLE))
    if len(found) > 1:
        raise ImageError(
            "MIXED_KIND",
            "the cohort holds both pictures and volumes, expected one of the two. List them as "
            "two inputs, or set inputs.NAME.kind. [MIXED_KIND]",
        )
    return next(iter(found), "image")


def _resolve_images(
    input: InputConfig,  # noqa: A002
    references: Sequence[str],
    readers: Sequence[PluginReader],
) -> tuple[InputConfig, dict[str, Any]]:
    looks = _looks(spread(references, SAMPLE_SIZE), readers)
    common = Counter(look.bits for look in looks).most_common(1)[0][0]
    stranger = next((look for look in looks if look.bits != common), None)
    if stranger is not None and input.intensity != "percentile":
        raise ImageError(
            "BIT_DEPTH",
            f"{stranger.reference}: {stranger.bits}-bit image beside {common}-bit ones, expected "
            "one bit depth. Convert it, or set intensity: percentile. [BIT_DEPTH]",
        )
    modality = _modality(looks) if input.modality == "auto" else input.modality
    settled = {
        "kind": "image",
        "modality": modality,
        "size": IMAGE_SIZE if input.size == "auto" else input.size,
        "fit": "stretch" if input.fit == "auto" else input.fit,
        "spacing": "none",
        "foreground": input.foreground is True,
        **_intensity(input, looks, common),
    }
    resolved = input.model_copy(update=settled)
    _LOGGER.info("input: %d-bit images, intensity by %s", common, resolved.intensity)
    return resolved, _fingerprint(looks, common)


def _looks(references: Sequence[str], readers: Sequence[PluginReader]) -> list[_Look]:
    found = [_look(reference, readers) for reference in references]
    looks = [look for look in found if isinstance(look, _Look)]
    first = next((error for error in found if isinstance(error, ImageFileError)), None)
    if first is not None and not looks:
        raise ImageError(first.code, f"{first} None of {len(references)} images can be read.")
    if not looks:
        raise ImageError("NO_IMAGE", "there is no image to resolve the input from.")
    return looks


def _look(reference: str, readers: Sequence[PluginReader]) -> _Look | ImageFileError:
    try:
        pixels, facts = read_pixels(reference, readers)
    except ImageFileError as error:
        return error
    return _Look(
        reference,
        facts.bits,
        facts.signed,
        1 if pixels.ndim == 2 else pixels.shape[-1],
        (pixels.shape[0], pixels.shape[1]),
        float(pixels.min()),
        float(pixels.max()),
        facts.modality,
    )


def _modality(looks: Sequence[_Look]) -> str:
    found = {_MODALITIES.get(look.modality, "other") for look in looks}
    return found.pop() if len(found) == 1 else "other"


def _intensity(
    input: InputConfig,  # noqa: A002
    looks: Sequence[_Look],
    bits: int,
) -> dict[str, Any]:
    if input.intensity != "auto":
        return {"intensity": input.intensity}
    if input.bounds:
        return {"intensity": "window"}
    if all(look.modality == "CT" for look in looks):
        return hounsfield(input)
    unit = all(look.low >= 0 and look.high <= 1 for look in looks)
    return {"intensity": "range" if bits == 8 or (bits == 32 and unit) else "percentile"}


def _fingerprint(looks: Sequence[_Look], bits: int) -> dict[str, Any]:
    shapes = np.array([look.shape for look in looks])
    return {
        "images": len(looks),
        "bits": bits,
        "signed": any(look.signed for look in looks),
        "channels": sorted({look.channels for look in looks}),
        "size_min": shapes.min(0).tolist(),
        "size_median": np.median(shapes, axis=0).astype(int).tolist(),
        "size_max": shapes.max(0).tolist(),
        "intensity_min": min(look.low for look in looks),
        "intensity_max": max(look.high for look in looks),
    }
