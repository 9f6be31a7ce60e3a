"""A page of sections with free titles, for whatever is not the report of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medfuse.report.content import Figure, Table
from medfuse.report.page import render_template
from medfuse.storage import write_text


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page; an empty one is left out.

    Attributes:
        anchor: name of the link to it.
        title: above it.
        text: a sentence under the title.
        tables: first.
        figures: after the tables.
    """

    anchor: str
    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()

    @property
    def filled(self) -> bool:
        """There is something to show."""
        return bool(self.text or self.tables or self.figures)


@dataclass(frozen=True, kw_only=True)
class SectionPage:
    """Everything on the page, top to bottom. All texts are untrusted and are escaped.

    Attributes:
        name: the title.
        verdict: one sentence.
        headline: the few numbers to see first, name to text.
        warnings: what must be known before anything else.
        sections: in order.
        versions: package to version.
        created: date as text.
    """

    name: str
    verdict: str = ""
    headline: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""


def render_sections(page: SectionPage) -> str:
    """Return the page as HTML text: every string escaped, nothing loaded from elsewhere.

    Raises:
        OutputError: a picture is not embedded but an address.
    """
    uris = [figure.uri for section in page.sections for figure in section.figures]
    return render_template("sections.html.j2", uris, {"content": page})


def write_sections(page: SectionPage, path: Path | str) -> Path:
    """Write the page to ``path``, whole or not at all, readable by its owner only.

    Raises:
        OutputError: the file cannot be written, or a picture is not embedded.
    """
    write_text(path, render_sections(page), mode=0o600)
    return Path(path)
