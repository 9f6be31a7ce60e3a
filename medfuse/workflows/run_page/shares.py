"""Section: how much each source counted."""

from __future__ import annotations

import numpy as np

from medfuse.report import Section, Table
from medfuse.workflows.figures import TestPart
from medfuse.workflows.run_page.facts import RunFacts


def shares_section(facts: RunFacts) -> Section:
    """Return the mean share of each source, overall and by true class."""
    title, part = "Source shares", facts.measured.part
    if part is None or part.shares is None:
        return Section(anchor="shares", title=title)
    return Section(
        anchor="shares",
        title=title,
        text=(
            f"How much of a decision the fusion {facts.model.classifier.fusion.name} takes from "
            "each source, as a mean over the test cases. A share says where the model looks, not "
            "what a source is worth: that is the comparison of the sources."
        ),
        tables=(_share_table(part),),
        figures=facts.measured.drawn("source_shares"),
    )


def _share_table(part: TestPart) -> Table:
    assert part.shares is not None
    labels, classes = part.predictions.labels, part.predictions.classes
    groups = {"all test cases": np.ones(len(part.predictions), dtype=bool)}
    several = labels.ndim == 2
    groups |= {n: labels[:, k] == 1 if several else labels == k for k, n in enumerate(classes)}
    rows = [
        [name, *(f"{share:.3f}" for share in part.shares[rows].mean(0))]
        for name, rows in groups.items()
        if rows.any()
    ]
    return Table(
        header=["true label" if several else "true class", *part.sources],
        rows=rows,
        caption="Mean shares.",
    )
