"""What a report page shows, as plain data; all texts are untrusted and are escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

INTENDED_USE = (
    "For research. This model is not a medical device and must not be used to diagnose or treat."
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a header; all cells are text.

    Attributes:
        header: column names.
        rows: one cell per column.
        caption: what the table shows, with its conventions.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
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
class ReportContent:
    """Everything on the page, top to bottom. An empty part is left out.

    Attributes:
        name: of the run or model.
        verdict: one sentence: does fusing help?
        headline: the few numbers to see first, name to text.
        intended_use: shown under the title.
        warnings: what a reader must know before trusting a number.
        cohort: the split table and others about the cases.
        sources: name, domain, license, feature width and more of each source.
        settings: fusion, head and training settings, name to value.
        metrics: overall, per class and per group.
        comparison: single sources beside the fused model.
        figures: in order.
        worst_errors: the most confident wrong cases.
        events: how often what was skipped, repaired or dropped, by code.
        versions: package or component to version or digest.
        created: date as text.
    """

    name: str
    verdict: str = ""
    headline: Mapping[str, str] = field(default_factory=dict)
    intended_use: str = INTENDED_USE
    warnings: Sequence[str] = ()
    cohort: Sequence[Table] = ()
    sources: Table | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Table] = ()
    comparison: Table | None = None
    figures: Sequence[Figure] = ()
    worst_errors: Sequence[WorstError] = ()
    events: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
