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
from medfuse.errors import ImageError
from medfuse.preprocessing.tabular_fit import resolve_tabular

SAMPLE_SIZE = 64
IMAGE_SIZE = (224, 224)
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


def resolve_input(
    input: InputConfig,  # noqa: A002
    references: Sequence[str],
) -> tuple[InputConfig, dict[str, Any]]:
    """Return the input without ``auto``, and a fingerprint of the images it was resolved from.

    ``intensity: auto`` becomes ``range`` for 8-bit images and floats within [0, 1]; 16-bit and
    other images, which seldom fill their type, become ``percentile``. An unknown modality becomes
    ``other``. At most 64 images are read, evenly spread; later ones that differ in bit depth are
    refused when they are loaded.

    Args:
        input: as configured.
        references: of the training images.

    Raises:
        ImageError: no image can be read, or (code ``BIT_DEPTH``) the bit depth varies and the
            intensity is not by percentile; names a file.
    """
    if input.kind == "tabular":
        return resolve_tabular(input, references)
    looks = _looks(_spread(sorted(references)))
    common = Counter(look.bits for look in looks).most_common(1)[0][0]
    stranger = next((look for look in looks if look.bits != common), None)
    if stranger is not None and input.intensity != "percentile":
        raise ImageError(
            "BIT_DEPTH",
            f"{stranger.reference}: {stranger.bits}-bit image beside {common}-bit ones, expected "
            "one bit depth. Convert it, or set intensity: percentile. [BIT_DEPTH]",
        )
    fingerprint = _fingerprint(looks, common)
    intensity: str = input.intensity
    if intensity == "auto":
        intensity = "window" if input.bounds else _intensity(looks, common)
    modality = "other" if input.modality == "auto" else input.modality
    _LOGGER.info("input: %d-bit images, intensity by %s", common, intensity)
    settled = {
        "kind": "image",
        "modality": modality,
        "size": IMAGE_SIZE if input.size == "auto" else input.size,
        "fit": "stretch" if input.fit == "auto" else input.fit,
        "spacing": "none",
        "intensity": intensity,
        "foreground": input.foreground is True,
    }
    return input.model_copy(update=settled), fingerprint


def _spread(references: Sequence[str]) -> list[str]:
    places = np.linspace(0, len(references) - 1, min(SAMPLE_SIZE, len(references)))
    return [references[index] for index in np.unique(places.round().astype(int))]


def _looks(references: Sequence[str]) -> list[_Look]:
    found = [_look(reference) for reference in references]
    looks = [look for look in found if isinstance(look, _Look)]
    first = next((error for error in found if isinstance(error, ImageFileError)), None)
    if first is not None and not looks:
        raise ImageError(first.code, f"{first} None of {len(references)} images can be read.")
    if not looks:
        raise ImageError("NO_IMAGE", "there is no image to resolve the input from.")
    return looks


def _look(reference: str) -> _Look | ImageFileError:
    try:
        pixels, facts = read_pixels(reference)
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
    )


def _intensity(looks: Sequence[_Look], bits: int) -> str:
    unit = all(look.low >= 0 and look.high <= 1 for look in looks)
    return "range" if bits == 8 or (bits == 32 and unit) else "percentile"


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
