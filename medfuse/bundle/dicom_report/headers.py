"""What a report takes over from the images: patient, study, and which images they are.

This is the one place in medfuse that reads who the patient is. A report without the patient
belongs to nobody; nothing else that medfuse writes or says may hold what is read here.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import UID

_PATIENT = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "PatientAge"),
)
_STUDY = (
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_IMAGE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_SIZE = ("Modality", "Rows", "Columns")
_REQUIRED_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
# Type 2 in a report: there, and empty where the image does not say.
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate"),
    *("StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)
_SHARED = {"PatientID": "MIXED_PATIENT", "StudyInstanceUID": "MIXED_STUDY"}
_POSSIBLE = {
    "DA": re.compile(r"(\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01]))?"),
    "TM": re.compile(r"(([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?)?"),
    "AS": re.compile(r"(\d{3}[DWMY])?"),
    "CS": re.compile(r"[A-Z0-9 _]{0,16}"),
    "SH": re.compile(r"[^\\\x00-\x1f\x7f]{0,16}"),
    "LO": re.compile(r"[^\\\x00-\x1f\x7f]{0,64}"),
    "PN": re.compile(r"[^\\\x00-\x1f\x7f]{0,194}"),
}
_SEXES = ("M", "F", "O")


class ReportError(Exception):
    """No report can be written of a case; no text quotes what the images say.

    Args:
        code: short upper-case reason.
        text: the reason in a sentence.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def read_headers(files: Sequence[str]) -> list[Dataset]:
    """Return the header of every image, further copies of an instance left out.

    What DICOM does not allow (a date that is none, a name with control characters) is left empty;
    an identifier or UID of that kind is an error, for the report would belong to somebody else.

    Args:
        files: DICOM files that the reader has read.

    Raises:
        ReportError: ``UNREADABLE``, ``BAD_UID``, ``BAD_PATIENT_ID``, ``MIXED_PATIENT`` or
            ``MIXED_STUDY``.
    """
    headers: dict[str, Dataset] = {}
    for file in files:
        header = _header(file)
        headers.setdefault(header.SOPInstanceUID, header)
    found = list(headers.values())
    for keyword, code in _SHARED.items():
        if len({str(header[keyword].value) for header in found}) > 1:
            raise ReportError(code, f"The images do not share one {keyword}.")
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what pydicom and highdicom say of values, in warnings and in the log: they quote."""
    loggers = [logging.getLogger(name) for name in ("highdicom", "pydicom")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _header(file: str) -> Dataset:
    try:
        with quiet():
            given = pydicom.dcmread(
                file,
                stop_before_pixels=True,
                specific_tags=[*_PATIENT, *_STUDY, *_IMAGE, *_SIZE],
            )
            return _copied(given)
    except ReportError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file can raise anything
        name = type(error).__name__
        raise ReportError("UNREADABLE", f"A header cannot be read again ({name}).") from None


def _copied(given: Dataset) -> Dataset:
    header = Dataset()
    for keyword in (*_PATIENT, *_STUDY):
        if keyword in given or keyword in _MAY_BE_EMPTY:
            setattr(header, keyword, _possible(keyword, given.get(keyword)))
    for keyword in (*_IMAGE, *_SIZE):
        if given.get(keyword) not in (None, ""):
            setattr(header, keyword, given[keyword].value)
    for keyword in _REQUIRED_UIDS:
        if not UID(str(header.get(keyword, ""))).is_valid:
            raise ReportError("BAD_UID", f"{keyword} of an image is absent or no UID.")
    return header


def _possible(keyword: str, value: object) -> str:
    """Return a value as text where DICOM allows it there, else an empty text."""
    found = "" if value is None else str(value).strip()
    pattern = _POSSIBLE.get(dictionary_VR(keyword))
    fits = pattern is None or pattern.fullmatch(found)
    if keyword == "PatientID" and not fits:
        raise ReportError("BAD_PATIENT_ID", "The PatientID of an image is no possible value.")
    return found if fits and (keyword != "PatientSex" or found in _SEXES) else ""
