"""The page: a `ReportContent` through the template, to one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medfuse.errors import OutputError
from medfuse.report.content import ReportContent
from medfuse.report.pictures import is_embedded
from medfuse.storage import write_text

_UNSAFE_BREAKS = {0: None}


@dataclass(frozen=True)
class _Link:
    anchor: str
    title: str


def render_report(content: ReportContent) -> str:
    """Return the page as HTML text: every string escaped, nothing loaded from elsewhere.

    Raises:
        OutputError: a picture is not embedded but an address.
    """
    uris = [figure.uri for figure in content.figures]
    uris += [error.thumbnail for error in content.worst_errors if error.thumbnail]
    return render_template("page.html.j2", uris, {"content": content, "links": _links(content)})


def render_template(name: str, uris: Sequence[str], values: Mapping[str, Any]) -> str:
    """Return a template of this folder as HTML text, all strings escaped.

    Args:
        name: of the template.
        uris: of all pictures on the page.
        values: what the template is given.

    Raises:
        OutputError: a picture is not embedded but an address.
    """
    if not is_embedded(uris):
        raise OutputError(
            "a picture of the report is not a base64 data: URI of a PNG or SVG. Use embed_figure "
            "or embed_image, so that the page stays whole without a network."
        )
    html = _environment().get_template(name).render(values)
    # Lone surrogates (file names that are not UTF-8) and NUL cannot be written as UTF-8 HTML.
    return html.encode("utf-8", "replace").decode("utf-8").translate(_UNSAFE_BREAKS)


def write_report(content: ReportContent, path: Path | str) -> Path:
    """Write the page to ``path``, whole or not at all, readable by its owner only.

    Raises:
        OutputError: the file cannot be written, or a picture is not embedded.
    """
    write_text(path, render_report(content), mode=0o600)
    return Path(path)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("medfuse.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _links(content: ReportContent) -> list[_Link]:
    parts = [
        ("metrics", "Metrics", content.metrics),
        ("comparison", "Does fusing help?", content.comparison),
        ("figures", "Figures", content.figures),
        ("errors", "Worst errors", content.worst_errors),
        ("cohort", "Cohort", content.cohort),
        ("sources", "Sources", content.sources),
        ("settings", "Settings", content.settings),
        ("events", "Events", True),
        ("versions", "Versions", content.versions),
    ]
    return [_Link(anchor, title) for anchor, title, shown in parts if shown]
