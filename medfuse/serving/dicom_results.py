"""A folder of DICOM reports, one for each case that was read from DICOM, and ``result.json``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medfuse.bundle.dicom_report.result import (
    RESULT,
    WRITTEN,
    ModelRecord,
    case_result,
    codes_of,
    result_document,
)
from medfuse.bundle.digests import DIGESTS
from medfuse.data.dicom.refusal import DicomError
from medfuse.data.dicom.sandbox import shared_reader
from medfuse.data.dicom_tree import is_dicom_file
from medfuse.errors import ConfigError, OutputError
from medfuse.serving.prediction import Prediction
from medfuse.storage import atomic_folder, sha256_file, write_json

_REFUSED, _NOT_DICOM = "REFUSED", "NOT_DICOM"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgedCase:
    """A case with what was said of it.

    Attributes:
        references: of its images, as they were predicted.
        prediction: its answer.
        findings: the classes that hold by it.
    """

    references: tuple[str, ...]
    prediction: Prediction
    findings: tuple[str, ...]


def require_reports(folder: Path) -> None:
    """Pass if reports can be built and go into a folder of their own, before anything is computed.

    Raises:
        ConfigError: highdicom is not installed.
        OutputError: something is in the folder. Reports are never replaced: one may be in use.
    """
    if find_spec("highdicom") is None:
        raise ConfigError(
            "--dicom-out needs highdicom, which is not installed. Install medfuse[dicom]."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "not empty" if folder.is_dir() else "a file"
        raise OutputError(f"{folder}: {what}, expected a new or empty folder. Choose another.")


def model_record(bundle: Path, metadata: Mapping[str, Any]) -> ModelRecord:
    """Return what a report says of a bundle; its digest is that of all its digests."""
    name, version = str(metadata.get("name", bundle.name)), str(metadata["version"])
    return ModelRecord(name, version, sha256_file(bundle / DIGESTS), codes_of(metadata))


def write_reports(folder: Path, model: ModelRecord, cases: Sequence[JudgedCase]) -> int:
    """Write the folder as a whole; return how many cases of DICOM have an answer but no report.

    Raises:
        OutputError: the folder is not empty any more, or cannot be written.
    """
    with atomic_folder(folder) as staging:
        width = max(4, len(str(len(cases))))
        results = [
            _case(case, model, staging / f"{number:0{width}d}.dcm")
            for number, case in enumerate(cases, start=1)
        ]
        write_json(staging / RESULT, result_document(model, results))
        require_reports(folder)
    without = [r for r in results if r["report_status"] not in (WRITTEN, _REFUSED, _NOT_DICOM)]
    for result in without:
        logger.warning("no report of %s: %s", result["case"], result["report_status"])
    return len(without)


def dicom_files(reference: str) -> tuple[str, ...]:
    """Return the files of the series or image that a reference names; none if it is not DICOM.

    Raises:
        DicomError: it cannot be listed, or holds no such series any more.
    """
    path, _, key = reference.partition("::")
    if Path(path).is_file() and not is_dicom_file(Path(path)):
        return ()
    listing = shared_reader().list(path)
    found = [series for series in listing.series if key in ("", series.key)]
    if len(found) > 1:
        raise DicomError("AMBIGUOUS_SERIES", "several series are there by now")
    return found[0].files if found else ()


def _case(case: JudgedCase, model: ModelRecord, target: Path) -> dict[str, Any]:
    status = _REFUSED
    if case.prediction.status != "refused":
        status = _write_report(case, model, target)
    name = target.name if status == WRITTEN else ""
    return case_result(case.prediction.to_dict(), name, status)


def _write_report(case: JudgedCase, model: ModelRecord, target: Path) -> str:
    """Write one report; return `WRITTEN` or the code of why there is none."""
    from medfuse.bundle.dicom_report.headers import ReportError, read_headers
    from medfuse.bundle.dicom_report.tid1500 import Answer, structured_report

    said = case.prediction
    try:
        files = [file for reference in case.references for file in dicom_files(reference)]
        if not files:
            return _NOT_DICOM
        abstained = said.status == "abstained"
        answer = Answer(
            said.status,
            said.reason_code,
            () if abstained else case.findings,
            {} if abstained else said.probabilities,
        )
        structured_report(read_headers(files), model, answer).save_as(target)
    except (DicomError, ReportError) as error:
        return error.code
    return WRITTEN
