"""What a bundle says about one image, and the table of many."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer to one image.

    Attributes:
        case: the image, as the caller named it.
        status: ``ok``, or ``refused`` where there is no answer.
        reason_code: why it was refused, for example ``TRUNCATED``; empty if it was not.
        reason: the same in a sentence.
        predicted: a class; several joined by ``;``, or none, where classes exclude nothing.
        probabilities: class -> probability; empty if refused, never zeros.
    """

    case: str
    status: Literal["ok", "refused"]
    reason_code: str = ""
    reason: str = ""
    predicted: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "probabilities": dict(self.probabilities)}


def prediction_table(predictions: Sequence[Prediction], classes: Sequence[str]) -> str:
    """Return CSV: ``case,status,reason_code,predicted,prob_<class>...``, blank where refused."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"prob_{name}" for name in classes]
    writer.writerow(["case", "status", "reason_code", "predicted", *names])
    for p in predictions:
        values = [p.probabilities.get(name, "") for name in classes]
        writer.writerow([p.case, p.status, p.reason_code, p.predicted, *values])
    return text.getvalue()
