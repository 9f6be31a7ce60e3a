"""``result.json`` and, where there is an answer, a structured report beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .dicom_report.headers import ReportError, read_headers
from .dicom_report.result import RESULT, WRITTEN, case_result, result_document
from .dicom_report.tid1500 import Answer, structured_report
from .judged_bundle import JudgedBundle
from .outcome import Case

REPORT = "report.dcm"


def write_case(bundle: JudgedBundle, case: Case, output: Path) -> dict[str, Any]:
    """Write what is known of the case; return it.

    The result comes last, and as a whole: where it is, all of the output is there.
    """
    output.mkdir(parents=True, exist_ok=True)
    status = "REFUSED" if case.ended else _write_report(bundle, case, output)
    said = {"case": "input", **case.prediction}
    result = case_result(said, REPORT if status == WRITTEN else "", status)
    text = json.dumps(result_document(bundle.record, [result]), indent=2, allow_nan=False)
    part = output / f".{RESULT}.part"
    part.write_text(f"{text}\n", encoding="utf-8")
    part.replace(output / RESULT)
    return result


def _write_report(bundle: JudgedBundle, case: Case, output: Path) -> str:
    said = case.prediction
    judged = said["status"] == "ok"
    answer = Answer(
        said["status"],
        said["reason_code"],
        bundle.findings(said),
        said["probabilities"] if judged else {},
    )
    path, _, key = case.reference.partition("::")
    listing = bundle.script("data_dicom.sandbox").shared_reader().list(path)
    files = [f for s in listing.series if key in ("", s.key) for f in s.files]
    try:
        structured_report(read_headers(files), bundle.record, answer).save_as(output / REPORT)
    except ReportError as error:
        return error.code
    return WRITTEN
