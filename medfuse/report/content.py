"""What a page shows, as plain data; all texts are untrusted and are escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Link:
    """A cell, or part of one, that leads to another section of the page.

    Attributes:
        anchor: of the section.
        title: what is shown.
    """

    anchor: str
    title: str


Cell: TypeAlias = str | Sequence[Link]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a header.

    Attributes:
        header: column names.
        rows: one cell per column: text, or links.
        caption: what the table shows, with its conventions.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture as a ``data:`` URI (`embed_figure`), and what it shows.

    Attributes:
        uri: begins with ``data:image/``.
        caption: under the picture; also its alternative text.
        wide: takes the whole width of the page.
    """

    uri: str
    caption: str
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class WorstError:
    """A wrongly classified case that the model was sure of.

    Attributes:
        case_id: as in the cohort.
        label: true class name.
        predicted: predicted class name.
        probability: of the predicted class.
        thumbnail: ``data:`` URI of the image; empty for none.
    """

    case_id: str
    label: str
    predicted: str
    probability: float
    thumbnail: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of a page, in the order of its attributes; an empty one is left out.

    Attributes:
        anchor: name of the link to it.
        title: above it.
        text: a sentence or two under the title.
        points: a list.
        facts: name to value.
        tables: each with its caption.
        figures: each with its caption.
        errors: wrong cases with their pictures.
    """

    anchor: str
    title: str
    text: str = ""
    points: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    errors: Sequence[WorstError] = ()

    @property
    def filled(self) -> bool:
        """There is something to show."""
        parts = (self.text, self.points, self.facts, self.tables, self.figures, self.errors)
        return any(bool(part) for part in parts)

    @property
    def pictures(self) -> list[str]:
        """The addresses of all its pictures."""
        shown = [error.thumbnail for error in self.errors if error.thumbnail]
        return [figure.uri for figure in self.figures] + shown


@dataclass(frozen=True, kw_only=True)
class SectionPage:
    """Everything on a page, top to bottom; sections are numbered as they come.

    Attributes:
        name: the title.
        intended_use: what the model is for, and what not.
        verdict: one sentence.
        headline: the few numbers to see first, name to text.
        warnings: what must be known before anything else.
        sections: in order.
        versions: package or component to version or digest.
        created: date as text.
    """

    name: str
    intended_use: str = ""
    verdict: str = ""
    headline: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
