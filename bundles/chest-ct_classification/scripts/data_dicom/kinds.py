"""Which objects are diagnostic images, and which of them are volumes (PS3.4 annex B.5)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from .dataset import text, value, words

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_VOLUMES = (
    *("2", "2.1", "2.2"),  # CT, enhanced CT, legacy converted
    *("4", "4.1", "4.4"),  # MR
    *("128", "128.1", "130"),  # PET
    *("13.1.1", "13.1.2", "13.1.3"),  # X-ray 3D, breast tomosynthesis
    *("6.2", "20"),  # enhanced ultrasound volume, nuclear medicine
)
_PICTURES = (
    *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1"),  # CR, DX, mammography, intra-oral
    *("12.1", "12.1.1", "12.2", "12.2.1"),  # angiography, fluoroscopy
    *("6.1", "3.1"),  # ultrasound
    *("77.1.1", "77.1.2", "77.1.4", "77.1.5.1", "77.1.5.2", "77.1.5.4"),  # visible light
)
_CAPTURES = ("7", "7.1", "7.2", "7.3", "7.4")
_DIRECTORY = "1.2.840.10008.1.3.10"
_LOCALIZERS = {"LOCALIZER", "SCOUT", "SURVEY", "SURVIEW", "REF_SURVIEW", "TOPOGRAM"}
_SUMMARIES = {"PATIENT_INFO", "DOSE_INFO", "RESULTS", "SCREEN SAVE", "SCREENSAVE", "REPORT"}


def reason_to_skip(dataset: Dataset) -> str:
    """Return the skip code of an object that is no diagnostic image, else an empty string.

    Raises:
        DicomError: ``DAMAGED``: a value is none of its type.
    """
    kind = text(dataset, "SOPClassUID")
    meta = text(dataset.file_meta, "MediaStorageSOPClassUID")
    if _DIRECTORY in (kind, meta):
        return "DICOMDIR"
    if not kind.startswith(_STORAGE):
        return "NOT_AN_IMAGE" if kind else "DAMAGED"
    number = kind.removeprefix(_STORAGE)
    image_type = set(words(dataset, "ImageType"))
    if number in _CAPTURES or image_type & _SUMMARIES:
        return "SECONDARY_CAPTURE"
    if number not in _VOLUMES and number not in _PICTURES:
        return "NOT_AN_IMAGE"
    return "LOCALIZER" if image_type & _LOCALIZERS else ""


def is_volume(dataset: Dataset) -> bool:
    """Return whether the object is a slice or a stack, not a projection or photograph."""
    return text(dataset, "SOPClassUID").removeprefix(_STORAGE) in _VOLUMES


def has_frame_items(dataset: Dataset) -> bool:
    """Return whether each frame carries its own geometry (enhanced multi-frame)."""
    return value(dataset, "PerFrameFunctionalGroupsSequence") is not None
