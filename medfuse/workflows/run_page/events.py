"""Section: what was skipped, repaired, resized, dropped or refused."""

from __future__ import annotations

from collections.abc import Mapping

from medfuse.report import Section
from medfuse.workflows.run_page.facts import RunFacts


def events_section(facts: RunFacts) -> Section:
    """Return what happened to the cases of a run, by code."""
    return told(facts.task.prepared.events())


def told(events: Mapping[str, int]) -> Section:
    """Return how often what happened, by code; also that nothing did."""
    text = (
        "What was skipped, repaired, resized, dropped or refused, and how often."
        if events
        else "Nothing was skipped, repaired, dropped or refused."
    )
    facts = {code: str(count) for code, count in events.items()}
    return Section(anchor="events", title="Events", text=text, facts=facts)
