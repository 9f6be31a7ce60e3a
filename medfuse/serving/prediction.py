"""What a bundle says about one case, and the table of many."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer to one image, volume or case of several inputs.

    Attributes:
        case: as the caller named it.
        status: ``ok``, or ``refused`` where there is no answer.
        reason_code: why it was refused, for example ``TRUNCATED``; empty if it was not.
        reason: the same in a sentence.
        inputs: which inputs the case had, of a bundle that takes several; else empty.
        predicted: a class; several joined by ``;``, or none, where classes exclude nothing.
        probabilities: class -> probability; empty if refused, never zeros.
    """

    case: str
    status: Literal["ok", "refused"]
    reason_code: str = ""
    reason: str = ""
    inputs: tuple[str, ...] = ()
    predicted: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; ``inputs`` only if there are several."""
        data = {**vars(self), "probabilities": dict(self.probabilities)}
        return {**data, "inputs": list(self.inputs)} if self.inputs else _without(data, "inputs")


def prediction_table(
    predictions: Sequence[Prediction], classes: Sequence[str], with_inputs: bool = False
) -> str:
    """Return CSV: ``case,status,reason_code,predicted,prob_<class>...``, blank where refused.

    Args:
        predictions: one row each.
        classes: in the order of the columns.
        with_inputs: add the column ``inputs`` before ``predicted``, names joined by ``;``.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    extra = ["inputs"] if with_inputs else []
    names = [f"prob_{name}" for name in classes]
    writer.writerow(["case", "status", "reason_code", *extra, "predicted", *names])
    for p in predictions:
        inputs = [";".join(p.inputs)] if with_inputs else []
        values = [p.probabilities.get(name, "") for name in classes]
        writer.writerow([p.case, p.status, p.reason_code, *inputs, p.predicted, *values])
    return text.getvalue()


def _without(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}
