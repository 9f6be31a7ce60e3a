"""One series of slices as one volume in mm, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .dataset import modality_of, text, words
from .decode import MAX_SAMPLES, PIXEL_TAGS, is_lossy, pixel_format, stored_pixels
from .facts import DicomImage
from .frames import Frame, frames_of
from .geometry import stack
from .padding import PADDING_TAGS, padded
from .refusal import refusal
from .series import Instance, load_pixels
from .values import Rescale, with_sign

AIR = -1024.0
_SLICE_TAGS = ("SOPClassUID", "PixelData", *PIXEL_TAGS, *PADDING_TAGS)
_UNITS_OF_CT = ("", "HU", "US")
_MEASURED = ("CT", "PT")


def read_volume(instances: Sequence[Instance]) -> DicomImage:
    """Return the volume of a series: every check on headers comes before the first pixel.

    Raises:
        DicomError: the slices are no regular stack of measurements, or cannot be decoded.
    """
    header = instances[0].header
    modality = modality_of(header)
    for found in instances:
        require_measurements(found.header)
    frames = [f for i, found in enumerate(instances) for f in frames_of(found.header, i)]
    require_units([frame.rescale for frame in frames], modality)
    ordered, affine, tilt = stack(frames)
    pixels, replaced = _filled(ordered, instances, modality == "CT")
    events = [*series_events(instances), rescale_event(ordered[0].rescale)]
    if tilt:
        events.append(("GANTRY_TILT", f"{tilt:.1f} degrees"))
    if replaced:
        events.append(("PIXEL_PADDING", f"{replaced} of {pixels.size} voxels"))
    spacing = tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    bits = pixel_format(header).bits
    return DicomImage(pixels, affine, spacing, modality, bits, tuple(events))


def require_measurements(header: Dataset) -> None:
    """Pass if the samples of a slice are gray and mean the same in every slice.

    Raises:
        DicomError: ``COLOR``, ``PHOTOMETRIC`` or ``PIXEL_FORMAT``.
    """
    form = pixel_format(header)
    if form.shape[3] != 1 or form.photometric == "PALETTE COLOR":
        raise refusal("COLOR")
    if form.photometric == "MONOCHROME2":
        return
    if form.photometric != "MONOCHROME1" or modality_of(header) not in _MEASURED:
        raise refusal("PHOTOMETRIC")


def require_units(rescales: Sequence[Rescale], modality: str) -> None:
    """Pass if CT values are Hounsfield units and all slices or none have a transformation.

    Raises:
        DicomError: ``BAD_RESCALE`` or ``NOT_HU``.
    """
    if len({rescale.declared for rescale in rescales}) > 1:
        raise refusal("BAD_RESCALE", "only some slices have slope and intercept")
    if modality != "CT":
        return
    if not all(rescale.declared for rescale in rescales):
        raise refusal("BAD_RESCALE", "a CT without slope and intercept")
    if any(rescale.unit not in _UNITS_OF_CT for rescale in rescales):
        raise refusal("NOT_HU")


def series_events(instances: Sequence[Instance]) -> list[tuple[str, str]]:
    """Return what is to be known of a series before its values."""
    events = []
    headers = [found.header for found in instances]
    if any("DERIVED" in words(header, "ImageType") for header in headers):
        events.append(("DERIVED", ""))
    if lossy := sum(is_lossy(header) for header in headers):
        events.append(("LOSSY", f"{lossy} of {len(headers)} objects"))
    if any(
        text(header, "PhotometricInterpretation").upper() == "MONOCHROME1" for header in headers
    ):
        events.append(("MONOCHROME1_KEPT", ""))
    return events


def rescale_event(rescale: Rescale) -> tuple[str, str]:
    """Return how stored samples became values."""
    if rescale.lut is not None:
        return "MODALITY_LUT", f"{len(rescale.lut.table)} entries"
    if not rescale.declared:
        return "NO_RESCALE", ""
    return "RESCALED", f"first slice slope {rescale.slope:g} intercept {rescale.intercept:g}"


def slice_values(
    stored: NDArray[np.integer], rescale: Rescale, padding: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Return one slice as float32, padding as air where given."""
    if rescale.lut is not None:
        rescale = Rescale(lut=with_sign(rescale.lut, stored.dtype.kind == "i"), declared=True)
    values = rescale(stored).astype(np.float32)
    if padding is not None:
        values[padding] = AIR
    return values


def _filled(
    ordered: Sequence[Frame], instances: Sequence[Instance], is_ct: bool
) -> tuple[NDArray[np.float32], int]:
    """Return ``(X, Y, Z)``, and how many voxels were padding."""
    shapes = {pixel_format(found.header).shape[1:3] for found in instances}
    if len(shapes) > 1:
        raise refusal("MIXED_MATRIX", f"{len(shapes)} different sizes")
    rows, columns = shapes.pop()
    if rows * columns * len(ordered) > MAX_SAMPLES:
        raise refusal("TOO_LARGE", f"{len(ordered)} slices of {rows} x {columns}")
    volume = np.empty((len(ordered), rows, columns), np.float32)
    places: dict[int, list[int]] = {}
    for place, frame in enumerate(ordered):
        places.setdefault(frame.instance, []).append(place)
    replaced = 0
    for index, found in enumerate(instances):
        dataset = load_pixels(found, _SLICE_TAGS)
        stored, form = stored_pixels(dataset)
        if stored.shape[1:] != (rows, columns):
            raise refusal("MIXED_MATRIX", "pixels of another size than the header")
        for place in places[index]:
            number, rescale = ordered[place].number, ordered[place].rescale
            padding = padded(dataset, stored[number], form) if is_ct else None
            volume[place] = slice_values(stored[number], rescale, padding)
            replaced += 0 if padding is None else int(padding.sum())
    return volume.transpose(2, 1, 0), replaced
