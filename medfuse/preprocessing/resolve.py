"""Look at some images and settle what the configuration leaves open."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medfuse.config import InputConfig
from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.plugin_reader import PluginReader
from medfuse.data.rendering import NO_WINDOW
from medfuse.errors import ConfigError, ImageError
from medfuse.preprocessing.kind import kind_of
from medfuse.preprocessing.resolve_volumes import (
    HEADERS,
    VOLUMES,
    describe_volumes,
    hounsfield,
    resolve_volumes,
)
from medfuse.preprocessing.spread import spread
from medfuse.preprocessing.tabular_fit import resolve_tabular

SAMPLE_SIZE = 64
KIND_SAMPLE = 5
RESOLVE_VERSION = 1
IMAGE_SIZE = (224, 224)
_STRETCHED = 1.5
_FAR_STRETCHED = 2.0
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
    windowed: bool


def resolve_input(
    input: InputConfig,  # noqa: A002
    references: Sequence[str],
    readers: Sequence[PluginReader] = (),
) -> tuple[InputConfig, dict[str, Any]]:
    """Return the input without ``auto``, and a fingerprint of the images it was resolved from.

    ``intensity: auto`` of images becomes ``range`` for 8 bits, floats within [0, 1] and DICOM with
    a window of its own, ``window`` for CT slices of DICOM; DICOM without a window, 16-bit and
    other images, which seldom fill their type, become ``percentile``. ``fit: auto`` becomes
    ``stretch``, or ``letterbox`` where that would distort much. A modality that DICOM does not
    tell becomes ``other``. At most 64 images are read, evenly spread; later ones that differ in
    bit depth are refused when they are loaded. Of volumes see `resolve_volumes`.

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
    resolve = resolve_volumes if kind == "volume" else _resolve_images
    resolved, fingerprint = resolve(input, references, readers)
    tell(resolved, fingerprint)
    return resolved, fingerprint


def looked_at(references: Sequence[str]) -> list[str]:
    """Return every reference that `resolve_input` may read, sorted."""
    counts = (KIND_SAMPLE, VOLUMES, 2 * VOLUMES, HEADERS, SAMPLE_SIZE)
    return sorted({item for count in counts for item in spread(references, count)})


def tell(resolved: InputConfig, fingerprint: Mapping[str, Any]) -> None:
    """Write to the log what was resolved, and what is odd with it."""
    if resolved.kind == "volume":
        _LOGGER.info("input: %s", describe_volumes(resolved))
    else:
        _LOGGER.info(
            "input: %d-bit images of modality %s, intensity by %s",
            fingerprint["bits"],
            resolved.modality,
            resolved.intensity,
        )
    if resolved.modality == "other":
        _LOGGER.info(
            "input: views of modality other are made as those of X-rays; if it is CT or MR, say so "
            "with modality (train: --modality)"
        )
    for warning in fingerprint["warnings"]:
        _LOGGER.warning("input: %s", warning)


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
    size = IMAGE_SIZE if input.size == "auto" else input.size
    stretch = _stretch(looks, (size[0], size[1]))
    settled = {
        "kind": "image",
        "modality": modality,
        "size": size,
        "fit": _fit(stretch) if input.fit == "auto" else input.fit,
        "spacing": "none",
        "foreground": input.foreground is True,
        **_intensity(input, looks, common),
    }
    resolved = input.model_copy(update=settled)
    if resolved.other_depths != "refuse" and resolved.intensity != "range":
        raise ConfigError(
            f"inputs: other_depths is given, but the images have {common} bits and intensity: "
            f"{resolved.intensity}, expected range. Leave other_depths out, or set intensity."
        )
    return resolved, {**_fingerprint(looks, common), "stretch": list(stretch)}


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
        all(code != NO_WINDOW for code, _ in facts.events),
    )


def _modality(looks: Sequence[_Look]) -> str:
    found = {_MODALITIES.get(look.modality, "other") for look in looks}
    return found.pop() if len(found) == 1 else "other"


def _stretch(looks: Sequence[_Look], size: tuple[int, int]) -> tuple[float, float]:
    """Return median and 90th percentile of how much ``stretch`` changes the proportions."""
    aspects = np.array([look.shape[1] / look.shape[0] for look in looks]) * size[0] / size[1]
    median, most = np.percentile(np.maximum(aspects, 1 / aspects), (50, 90)).round(2).tolist()
    return median, most


def _fit(stretch: tuple[float, float]) -> str:
    """Return ``letterbox`` where most images would be distorted by over 1.5, or a tenth by 2.

    Pretrained networks have seen sides stretched by up to 4/3 against one another in their own
    augmentation, and a letterbox takes resolution from what it shows.
    """
    median, most = stretch
    return "letterbox" if median > _STRETCHED or most > _FAR_STRETCHED else "stretch"


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
    unit = all(look.low >= 0 and look.high <= 1 and look.windowed for look in looks)
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
        "warnings": [],
    }
