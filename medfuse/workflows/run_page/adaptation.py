"""Section: what adapting to another cohort did."""

from __future__ import annotations

from medfuse.report import Section, Table
from medfuse.workflows.adaptation import NAMES, PAPERS
from medfuse.workflows.run_page.facts import RunFacts

_TEXT = (
    "The model was made for images of the target, whose labels took no part. The test part is of "
    "the cohort that was learned from: its metrics say what is left there, not what is reached at "
    "the target. Measure that with medfuse evaluate on labeled cases from there that took no part."
)


def adaptation_section(facts: RunFacts) -> Section:
    """Return the method, its target and how far the features were apart; empty without one."""
    title, adaptation = "Adaptation to another cohort", facts.task.adaptation
    if adaptation is None:
        return Section(anchor="adaptation", title=title)
    found = adaptation.facts
    return Section(
        anchor="adaptation",
        title=title,
        text=_TEXT,
        facts={
            "method": f"{NAMES[adaptation.method]}: {PAPERS[adaptation.method]}",
            "cases of the target": str(found["cases"]),
            "patients of the target": str(found["patients"]),
            "cases that share an image with the cohort": str(found["shared"]),
        },
        tables=[
            Table(
                header=["source", "before", "after"],
                rows=[
                    [name, f"{gap['before']:.3f}", f"{gap['after']:.3f}"]
                    for name, gap in found["sources"].items()
                ],
                caption=(
                    "How far the mean features of the cases learned from are from those of the "
                    "target, in standard deviations (root mean square over the features)."
                ),
            )
        ],
    )


def adaptation_warnings(facts: RunFacts) -> list[str]:
    """Return what a reader of the test metrics must know of a model that was adapted."""
    if facts.task.adaptation is None:
        return []
    return [
        f"This model was {facts.task.adaptation.told}: metrics of the test part are not what it "
        "reaches there."
    ]
