"""Predictions as text, row by row: CSV, a JSON list, and the result file of a platform."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medfuse.bundle.dicom_report.result import ModelRecord, case_result, result_document
from medfuse.evaluation.prediction_table import guarded
from medfuse.serving.prediction import Prediction

_NO_REPORT = "NOT_ASKED_FOR"


@dataclass(frozen=True)
class Columns:
    """What a table of predictions has besides a case, its status and its class.

    Attributes:
        classes: in the order of the columns.
        with_inputs: a column ``inputs`` before ``predicted``, names joined by ``;``.
        judged: columns ``set``, joined by ``;``, and ``distance``, the largest of all sources, at
            the end.
    """

    classes: Sequence[str]
    with_inputs: bool = False
    judged: bool = False

    @property
    def names(self) -> list[str]:
        """The header."""
        before = ["inputs"] if self.with_inputs else []
        after = ["set", "distance"] if self.judged else []
        chances = [f"prob_{name}" for name in self.classes]
        return ["case", "status", "reason_code", *before, "predicted", *chances, *after]

    def row(self, one: Prediction) -> list[Any]:
        """Return the cells of a prediction; those of probabilities are blank where refused."""
        before = [";".join(one.inputs)] if self.with_inputs else []
        chances = [one.probabilities.get(name, "") for name in self.classes]
        far = max(one.distances.values(), default="")
        after: list[Any] = [";".join(one.conformal_set), far] if self.judged else []
        return [one.case, one.status, one.reason_code, *before, one.predicted, *chances, *after]


def csv_text(predictions: Iterable[Prediction], columns: Columns) -> Iterator[str]:
    """Yield CSV: ``case,status,reason_code,predicted,prob_<class>...``, a line at a time.

    Text that a spreadsheet would take for a formula has an apostrophe in front.
    """
    yield _line(columns.names)
    for one in predictions:
        yield _line(columns.row(one))


def json_text(items: Iterable[Mapping[str, Any]], margin: str = "") -> Iterator[str]:
    """Yield a JSON list of objects, an object at a time.

    Args:
        items: plain data of predictions.
        margin: in front of each line but the first.
    """
    inner = f"\n{margin}  "
    separator = f"[{inner}"
    for one in items:
        yield separator + json.dumps(one, indent=2).replace("\n", inner)
        separator = f",{inner}"
    yield f"\n{margin}]" if separator[0] == "," else "[]"


def result_text(predictions: Iterable[Prediction], model: ModelRecord) -> Iterator[str]:
    """Yield ``result.json``, as `result_document` makes it, a case at a time."""
    facts = result_document(model, [])
    facts.pop("cases")
    head = json.dumps(facts, indent=2).removesuffix("\n}")
    yield f'{head},\n  "cases": '
    yield from json_text((case_result(p.to_dict(), "", _NO_REPORT) for p in predictions), "  ")
    yield "\n}\n"


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    safe = [guarded(cell) if isinstance(cell, str) else cell for cell in cells]
    csv.writer(text, lineterminator="\n").writerow(safe)
    return text.getvalue()
