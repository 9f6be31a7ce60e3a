"""Section: the wrong cases that the model was most sure of, with their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medfuse.data import Case
from medfuse.evaluation import LabelPredictions, Predictions
from medfuse.report import Section, WorstError, embed_image, worst_errors
from medfuse.workflows.figures import TestPart, picture_of
from medfuse.workflows.measure import test_rows
from medfuse.workflows.run_page.facts import RunFacts

_WORST = 12


def errors_section(facts: RunFacts) -> Section:
    """Return up to twelve wrong cases, the most confident first."""
    title, part = "Worst errors", facts.measured.part
    if part is None:
        return Section(anchor="errors", title=title)
    if isinstance(part.predictions, LabelPredictions):
        return Section(anchor="errors", title=title, **_wrong_answers(facts, part.predictions))
    wrong = int((part.predictions.predicted != part.predictions.labels).sum())
    text = f"{wrong} of {len(part.predictions)} test cases are classified wrongly."
    if wrong:
        text += f" The {min(wrong, _WORST)} that the model was most sure of:"
    return Section(anchor="errors", title=title, text=text, errors=_worst(facts, part))


def _wrong_answers(facts: RunFacts, predictions: LabelPredictions) -> dict[str, Any]:
    """Return the wrong answers whose probability was the farthest from the truth."""
    known = predictions.known
    wrong = (predictions.predicted != predictions.labels) & known
    text = f"{int(wrong.sum())} of {int(known.sum())} known answers are wrong."
    if not wrong.any():
        return {"text": text}
    off = np.where(wrong, np.abs(predictions.labels - predictions.probabilities), -1.0)
    order = np.argsort(-off, axis=None, kind="stable")[: min(int(wrong.sum()), _WORST)]
    rows, columns = np.unravel_index(order, off.shape)
    cases = [facts.task.prepared.cohort.cases[i] for i in test_rows(facts.task.prepared.cohort)]
    thumbnails = _thumbnails(facts, [cases[i] for i in rows])
    errors = [
        WorstError(
            case_id=cases[i].case_id,
            label=_answer(predictions.classes[k], predictions.labels[i, k]),
            predicted=_answer(predictions.classes[k], predictions.predicted[i, k]),
            probability=float(predictions.probabilities[i, k]),
            thumbnail=thumbnails.get(cases[i].case_id, ""),
        )
        for i, k in zip(rows, columns, strict=True)
    ]
    return {"text": f"{text} The {len(errors)} that were the farthest off:", "errors": errors}


def _answer(name: str, answer: int) -> str:
    return name if answer else f"no {name}"


def _worst(facts: RunFacts, part: TestPart) -> list[WorstError]:
    prepared, predictions = facts.task.prepared, part.predictions
    assert isinstance(predictions, Predictions)
    cases = [prepared.cohort.cases[i] for i in test_rows(prepared.cohort)]
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    confidence = predictions.probabilities[wrong].max(1)
    shown = [cases[wrong[i]] for i in np.argsort(-confidence, kind="stable")[:_WORST]]
    thumbnails = _thumbnails(facts, shown)
    ids = [case.case_id for case in cases]
    return worst_errors(predictions, ids, _WORST, thumbnails)


def _thumbnails(facts: RunFacts, cases: Sequence[Case]) -> dict[str, str]:
    return {
        case.case_id: embed_image(picture_of(read, case))
        for read in reversed(facts.task.prepared.pictures)
        for case in cases
        if read.has(case)
    }
