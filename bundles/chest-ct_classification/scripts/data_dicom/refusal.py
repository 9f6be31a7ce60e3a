"""Every code with which DICOM is refused, left out or read with a choice, and what to do.

No text holds an identifier: no value of a text attribute, no UID and no file name goes into one.
Refusals are raised ``from None``, since the text of their cause may quote the file.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

REFUSALS = MappingProxyType(
    {
        "FILE_NOT_FOUND": "There is no such file or folder.",
        "NOT_A_FILE": "It is no regular file and no folder.",
        "UNREADABLE": "It may not be opened by this user. Check its permissions.",
        "NOT_DICOM": "The file does not hold DICM at byte 128. Export it again as a DICOM file.",
        "NO_PREAMBLE": "It is named like DICOM but lacks DICM at byte 128. Export it again.",
        "DAMAGED": "The DICOM header cannot be parsed. Copy or export the file again.",
        "TRUNCATED": "The file ends before its last pixel. Copy it again.",
        "CHANGED": "A file changed or vanished while it was read. Read it when it is complete.",
        "DEFLATE_BOMB": "The deflated file unpacks to more than is read here.",
        "TOO_LARGE": "It is larger than what is read here.",
        "TIMEOUT": "Reading took longer than the limit of the sandbox.",
        "DECODER_CRASHED": "The decoding process died. The file is damaged or hostile.",
        "SANDBOX_FAILED": "The decoding process cannot be started.",
        "NO_IMAGES": "The folder holds no DICOM image.",
        "NOT_DIAGNOSTIC": "Only localizers, screen captures or other objects are there.",
        "AMBIGUOUS_SERIES": "Several series are there. Name one as PATH::KEY.",
        "UNKNOWN_SERIES": "No series there has this key.",
        "MISSING_UID": "An instance has no SOPInstanceUID or SeriesInstanceUID.",
        "UID_CONFLICT": "Two files with one SOPInstanceUID differ. Find out which is right.",
        "MIXED_PATIENT": "The series holds several values of PatientID. Separate them.",
        "MIXED_STUDY": "The series holds several values of StudyInstanceUID. Separate them.",
        "MIXED_MODALITY": "The series holds several modalities. Separate them.",
        "MIXED_FRAME_OF_REFERENCE": "The slices do not share one coordinate system.",
        "MIXED_ORIENTATION": "The slices are not parallel; several stacks need separate folders.",
        "MIXED_SPACING": "The slices differ in pixel spacing.",
        "MIXED_MATRIX": "The slices differ in rows or columns.",
        "SEVERAL_STACKS": "The frames belong to several stacks. Export one.",
        "SEVERAL_IMAGES": "Several single images are there. Name one file.",
        "SINGLE_SLICE": "One slice is no volume. Name the file to read it as a picture.",
        "INCOMPLETE_SERIES": "Fewer images are there than the series says it has. Send it again.",
        "NO_GEOMETRY": "Position, orientation or pixel spacing is missing.",
        "BAD_GEOMETRY": "Position, orientation or spacing is no possible value.",
        "REPEATED_POSITIONS": "Slices share a position: 4D, several acquisitions or copies.",
        "IRREGULAR_SPACING": "The gaps between slices differ: a slice is missing, or two stacks.",
        "NOT_COLLINEAR": "The slices do not lie on one line.",
        "MOSAIC": "Slices are tiled into one picture. Convert the series with dcm2niix.",
        "BAD_FRAMES": "The items of the frames are missing or do not fit the frames.",
        "MULTI_FRAME": "Several frames without positions. Export one frame.",
        "COLOR": "Color in a series whose values are measurements.",
        "PHOTOMETRIC": "The photometric interpretation is not read for this kind of image.",
        "BURNED_IN_ANNOTATION": "Text is burned into the pixels, perhaps the patient's name.",
        "BAD_RESCALE": "Rescale slope or intercept is missing, zero or no possible value.",
        "NOT_HU": "The rescaled values are not Hounsfield units.",
        "BAD_LUT": "A lookup table does not fit its descriptor.",
        "BAD_WINDOW": "Window center or width is no possible value.",
        "PIXEL_FORMAT": "The description of the pixels is missing or contradicts itself.",
        "UNSUPPORTED_SYNTAX": "The transfer syntax is not read here. Export it uncompressed.",
        "NO_DECODER": "A decoder is missing. Install medfuse[dicom]; a bundle's card names them.",
        "DECODE_FAILED": "The compressed pixels cannot be decoded.",
    }
)

SKIPS = MappingProxyType(
    {
        "NOT_DICOM": "a file of another kind (.DS_Store, .tags, text)",
        "NO_PREAMBLE": "named like DICOM, but without DICM at byte 128",
        "NOT_REGULAR": "a link, pipe, socket or device",
        "UNREADABLE": "may not be opened",
        "TOO_LARGE": "a file, or a value in its header, over the size limit",
        "DAMAGED": "a DICOM file whose header cannot be parsed",
        "DEFLATE_BOMB": "a deflated header that unpacks to more than is read here",
        "MISSING_UID": "an instance without SOPInstanceUID or SeriesInstanceUID",
        "DICOMDIR": "a directory of a DICOM medium",
        "NOT_AN_IMAGE": "a report, presentation state, segmentation, dose or other object",
        "SECONDARY_CAPTURE": "a screen capture or summary page",
        "LOCALIZER": "a localizer",
        "DUPLICATE": "a further file with the SOPInstanceUID of another",
    }
)

EVENTS = MappingProxyType(
    {
        "SKIPPED": "files of the same folder were left out; the detail is code and count",
        "GANTRY_TILT": "slices are sheared against their normal; the affine is exact",
        "RESCALED": "slope and intercept applied, slice by slice",
        "NO_RESCALE": "stored values kept: the file has no slope and intercept",
        "MODALITY_LUT": "the modality lookup table applied",
        "PIXEL_PADDING": "padding set to -1024 HU in CT, to black in projections",
        "MONOCHROME1_KEPT": "measurements of CT or PET kept, although shown inverted",
        "MONOCHROME1_INVERTED": "inverted, so that black is low",
        "VOI_LUT": "the first VOI lookup table applied",
        "VOI_WINDOW": "the first window applied with its function",
        "NO_VOI": "no window in the file: the range of the stored values became [0, 1]",
        "FOR_PROCESSING": "the projection is not meant for display",
        "COLOR_CONVERTED": "YBR or palette converted to RGB",
        "LOSSY": "compressed with loss",
        "DERIVED": "a derived image, for example a reformatted plane",
        "DETECTOR_SPACING": "spacing is that of the detector, not of the patient",
        "SINGLE_SLICE": "one slice of a volume modality, read as a picture",
    }
)


class DicomError(ValueError):
    """A file or series that is refused.

    Args:
        code: one of `REFUSALS`.
        text: what was found, what is expected, the code; no identifier.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, str(self))


def refusal(code: str, found: str = "") -> DicomError:
    """Return the error for ``code``: what was found, the table's remedy, the code."""
    text = f"{found}. {REFUSALS[code]}" if found else REFUSALS[code]
    return DicomError(code, f"{text} [{code}]")
