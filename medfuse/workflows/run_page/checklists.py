"""Sections: where the report answers what reporting guidelines ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medfuse.report import Link, Section, Table
from medfuse.report.content import Cell
from medfuse.workflows.run_page import claim_2024, tripod_ai
from medfuse.workflows.run_page.checklist_item import Item

TO_BE_FILLED_IN = "to be filled in by the authors"
_VERSIONS = {"versions": "Versions and digests"}


def checklist_sections(sections: Sequence[Section]) -> list[Section]:
    """Return one section for each guideline; items refer to the ``sections`` of the page."""
    titles = {section.anchor: section.title for section in sections if section.filled} | _VERSIONS
    return [
        _section("tripod", "TRIPOD+AI", tripod_ai.REFERENCE, tripod_ai.ITEMS, titles),
        _section("claim", "CLAIM 2024", claim_2024.REFERENCE, claim_2024.ITEMS, titles),
    ]


def _section(
    anchor: str, title: str, reference: str, items: Sequence[Item], titles: Mapping[str, str]
) -> Section:
    rows = [_row(item, titles) for item in items]
    answered = sum(not isinstance(row[2], str) for row in rows)
    return Section(
        anchor=anchor,
        title=f"Checklist {title}",
        text=(
            f"Where this report answers the items of {reference}, named in our own words. "
            f"{answered} of {len(rows)} are answered here, at least in part; a program cannot know "
            "the others."
        ),
        tables=(
            Table(
                header=["item", "asks for", "answered in", "left to the authors"],
                rows=rows,
                caption=f"{title}, item by item.",
            ),
        ),
    )


def _row(item: Item, titles: Mapping[str, str]) -> list[Cell]:
    links = [Link(anchor=a, title=titles[a]) for a in item.answered if a in titles]
    if links:
        return [item.number, item.asks, links, item.left]
    return [item.number, item.asks, TO_BE_FILLED_IN, item.left]
