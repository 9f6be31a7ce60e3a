"""Section: does fusing help?"""

from __future__ import annotations

from medfuse.report import Section, comparison_table
from medfuse.workflows.run_page.facts import RunFacts


def comparison_section(facts: RunFacts) -> Section:
    """Return the fused model beside each single source, with paired tests."""
    title = "Does fusing help?"
    if not facts.comparison:
        return Section(anchor="comparison", title=title)
    return Section(
        anchor="comparison",
        title=title,
        text=facts.comparison["verdict"],
        tables=(comparison_table(facts.comparison),),
    )
