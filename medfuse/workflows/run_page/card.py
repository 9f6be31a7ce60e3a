"""Sections: the model card, and the limits of the model."""

from __future__ import annotations

from medfuse.bundle.card import limits
from medfuse.report import Section
from medfuse.workflows.run_page.facts import RunFacts

_SUM = {"softmax": "they sum to 1", "sigmoid": "several can be high, or none"}
_COMMERCIAL = {True: "no part forbids it", False: "a part forbids it", None: "not known"}


def card_section(facts: RunFacts) -> Section:
    """Return intended use, data, license and limits, as the bundle states them."""
    card = facts.card
    own = card["medfuse"]
    return Section(
        anchor="card",
        title="Model card",
        facts={
            "intended use": card["intended_use"],
            "what it does": card["description"],
            "output": f"one probability for each of {card['pred_classes']}; {_SUM[own['link']]}",
            "training data": card["data_source"],
            "license": own["license"],
            "commercial use": _COMMERCIAL[own["commercial_use"]],
            "authors": card["authors"],
            "copyright": card["copyright"],
            "version": card["version"],
        },
    )


def limits_section(facts: RunFacts) -> Section:
    """Return what the model cannot do."""
    inputs = [read.config for read in facts.task.prepared.inputs.values()]
    alone = len(inputs) == 1 and inputs[0].kind != "tabular"
    unit = inputs[0].kind if alone else "case"
    return Section(
        anchor="limits",
        title="Limits",
        points=limits(unit, len(facts.task.prepared.cohort.classes), facts.card["medfuse"]["link"]),
    )
