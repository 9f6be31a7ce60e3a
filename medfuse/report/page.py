"""The page: a `SectionPage` through the template, to one HTML file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from medfuse.errors import OutputError
from medfuse.report.content import Section, SectionPage
from medfuse.report.line_breaks import pieces
from medfuse.report.pictures import is_embedded
from medfuse.storage import write_text

_UNSAFE_BREAKS = {0: None}


def render_sections(page: SectionPage) -> str:
    """Return the page as HTML text: every string escaped, nothing loaded from elsewhere.

    Raises:
        OutputError: a picture is not embedded but an address.
    """
    shown = [section for section in page.sections if section.filled]
    if not is_embedded([uri for section in shown for uri in section.pictures]):
        raise OutputError(
            "a picture of the report is not a base64 data: URI of a PNG or SVG. Use embed_figure "
            "or embed_image, so that the page stays whole without a network."
        )
    if page.versions:
        shown.append(Section(anchor="versions", title="Versions and digests", facts=page.versions))
    numbers = {section.anchor: str(i) for i, section in enumerate(shown, 1)}
    values = {"page": page, "sections": shown, "numbers": numbers}
    html = _environment().get_template("page.html.j2").render(values)
    # Lone surrogates (file names that are not UTF-8) and NUL cannot be written as UTF-8 HTML.
    return html.encode("utf-8", "replace").decode("utf-8").translate(_UNSAFE_BREAKS)


def write_sections(page: SectionPage, path: Path | str) -> Path:
    """Write the page to ``path``, whole or not at all, readable by its owner only.

    Raises:
        OutputError: the file cannot be written, or a picture is not embedded.
    """
    write_text(path, render_sections(page), mode=0o600)
    return Path(path)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medfuse.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pieces"] = pieces
    return environment
