"""``result.json``: which model judged, what it said of every case, and which report says so too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FORMAT = 1
RESULT = "result.json"
NOTICE = "Not for clinical use: a research result that no physician has verified."
WRITTEN = "WRITTEN"


@dataclass(frozen=True)
class ModelRecord:
    """The bundle that judged.

    Attributes:
        name: of the bundle.
        version: of the bundle.
        digest: SHA-256 of its ``SHA256SUMS``, and so of all its files.
        codes: by class, its standard code: value, scheme and meaning. A class may have none.
    """

    name: str
    version: str
    digest: str
    codes: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)


def codes_of(metadata: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Return the standard codes that the metadata of a bundle give its classes."""
    found: Mapping[str, Mapping[str, str]] = metadata.get("medfuse", {}).get("codes", {})
    return {name: (one["value"], one["scheme"], one["meaning"]) for name, one in found.items()}


def result_document(model: ModelRecord, cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the document.

    Args:
        model: who judged.
        cases: what is said of each; `case_result` makes one.
    """
    return {
        "format": FORMAT,
        "notice": NOTICE,
        "model": {"name": model.name, "version": model.version, "bundle_sha256": model.digest},
        "cases": [dict(case) for case in cases],
    }


def case_result(prediction: Mapping[str, Any], report: str, report_status: str) -> dict[str, Any]:
    """Return what is said of one case.

    Args:
        prediction: status, code, class and probabilities; without probabilities where refused.
        report: name of the file of its report; empty where there is none.
        report_status: `WRITTEN`, or the code of why there is none.
    """
    return {**prediction, "report": report or None, "report_status": report_status}
