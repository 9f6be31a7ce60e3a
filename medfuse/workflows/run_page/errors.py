"""Section: the wrong cases that the model was most sure of, with their pictures."""

from __future__ import annotations

import numpy as np

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
    wrong = int((part.predictions.predicted != part.predictions.labels).sum())
    text = f"{wrong} of {len(part.predictions)} test cases are classified wrongly."
    if wrong:
        text += f" The {min(wrong, _WORST)} that the model was most sure of:"
    return Section(anchor="errors", title=title, text=text, errors=_worst(facts, part))


def _worst(facts: RunFacts, part: TestPart) -> list[WorstError]:
    prepared, predictions = facts.task.prepared, part.predictions
    cases = [prepared.cohort.cases[i] for i in test_rows(prepared.cohort)]
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    confidence = predictions.probabilities[wrong].max(1)
    shown = [cases[wrong[i]] for i in np.argsort(-confidence, kind="stable")[:_WORST]]
    thumbnails = {
        case.case_id: embed_image(picture_of(read, case))
        for read in reversed(prepared.pictures)
        for case in shown
        if read.has(case)
    }
    ids = [case.case_id for case in cases]
    return worst_errors(predictions, ids, _WORST, thumbnails)
