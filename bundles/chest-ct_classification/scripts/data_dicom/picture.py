"""One projection or photograph as one picture in [0, 1], black low; one slice with its values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .color import read_color
from .dataset import modality_of, text, value
from .decode import PixelFormat, stored_pixels
from .facts import DicomImage
from .frames import frames_of, require_spacing
from .kinds import has_frame_items
from .padding import padded
from .refusal import refusal
from .series import HEADER_TAGS, Instance, load_pixels
from .values import Rescale, Values, rescale_of, voi, with_sign
from .volume import (
    require_measurements,
    require_units,
    rescale_event,
    series_events,
    slice_values,
)

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_TAGS = (
    *("PixelData", "PresentationIntentType", *HEADER_TAGS),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *_SPACINGS,
)
_Events = list[tuple[str, str]]


def read_picture(instance: Instance) -> DicomImage:
    """Return a projection or photograph as it is meant to be seen.

    Raises:
        DicomError: it has several frames, or its pixels cannot be decoded or interpreted.
    """
    dataset, stored, form = _loaded(instance)
    events = [event for event in series_events([instance]) if event[0] != "MONOCHROME1_KEPT"]
    if text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
        events.append(("FOR_PROCESSING", ""))
    if form.photometric in ("MONOCHROME1", "MONOCHROME2") and form.shape[3] == 1:
        pixels = _shown(dataset, stored, form, events)
    else:
        pixels, converted = read_color(dataset, stored, form)
        events += converted
    return _image(dataset, pixels.astype(np.float32), form, events)


def read_slice(instance: Instance) -> DicomImage:
    """Return one slice of a volume modality with its values, for example Hounsfield units.

    Raises:
        DicomError: it has several frames, or its pixels cannot be decoded or interpreted.
    """
    require_measurements(instance.header)
    dataset, stored, form = _loaded(instance)
    frame = frames_of(instance.header, 0)[0] if has_frame_items(instance.header) else None
    rescale = frame.rescale if frame else rescale_of(dataset)
    is_ct = modality_of(dataset) == "CT"
    require_units([rescale], "CT" if is_ct else "")
    padding = padded(dataset, stored, form) if is_ct else None
    events = [*series_events([instance]), rescale_event(rescale), ("SINGLE_SLICE", "")]
    if padding is not None and padding.any():
        events.append(("PIXEL_PADDING", f"{int(padding.sum())} of {padding.size} pixels"))
    image = _image(dataset, slice_values(stored, rescale, padding), form, events)
    return replace(image, spacing=tuple(frame.spacing.tolist())) if frame else image


def _loaded(instance: Instance) -> tuple[Dataset, NDArray[np.integer], PixelFormat]:
    dataset = load_pixels(instance, _TAGS)
    stored, form = stored_pixels(dataset)
    if len(stored) != 1:
        raise refusal("MULTI_FRAME", f"{len(stored)} frames")
    return dataset, stored[0], form


def _image(
    dataset: Dataset, pixels: NDArray[np.float32], form: PixelFormat, events: _Events
) -> DicomImage:
    spacing = None
    for name in _SPACINGS:
        found = value(dataset, name)
        if found is not None:
            row, column = require_spacing(found, name)
            spacing = (float(row), float(column))
            events += [] if name == "PixelSpacing" else [("DETECTOR_SPACING", name)]
            break
    modality = modality_of(dataset)
    return DicomImage(pixels, None, spacing, modality, form.bits, tuple(events))


def _shown(
    dataset: Dataset, stored: NDArray[np.integer], form: PixelFormat, events: _Events
) -> Values:
    """Return gray samples through modality transformation, VOI and photometric interpretation."""
    rescale = rescale_of(dataset)
    if rescale.lut is not None:
        rescale = Rescale(lut=with_sign(rescale.lut, form.signed), declared=True)
    values = rescale(stored)
    events.append(rescale_event(rescale))
    low, high = rescale.limits(form.limits)
    windowed = voi(dataset, values, low < 0)
    if windowed is None:
        events.append(("NO_VOI", f"{low:g} to {high:g}"))
        shown = (values - low) / (high - low)
    else:
        shown, event = windowed
        events.append(event)
    if _is_inverted(dataset, form):
        events.append(("MONOCHROME1_INVERTED", ""))
        shown = 1 - shown
    padding = padded(dataset, stored, form)
    if padding is not None and padding.any():
        events.append(("PIXEL_PADDING", f"{int(padding.sum())} of {padding.size} pixels"))
        shown = np.where(padding, 0.0, shown)
    return np.asarray(shown)


def _is_inverted(dataset: Dataset, form: PixelFormat) -> bool:
    shape = text(dataset, "PresentationLUTShape").upper()
    inverted = form.photometric == "MONOCHROME1"
    if shape and (shape == "INVERSE") != inverted:
        raise refusal("PHOTOMETRIC", f"{form.photometric} contradicts PresentationLUTShape")
    return inverted
