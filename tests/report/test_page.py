"""The page is whole, escaped, self-contained and says what it was given."""

from __future__ import annotations

import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure as Drawing

from medfuse.errors import OutputError
from medfuse.report import (
    Figure,
    Link,
    Section,
    SectionPage,
    Table,
    WorstError,
    embed_figure,
    embed_image,
    render_sections,
    write_sections,
)
from medfuse.report.line_breaks import pieces

EVIL = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>"
VOID = {"meta", "img", "br", "wbr"}


class _Page(HTMLParser):
    """Tags, attributes and visible text of a page; refuses badly nested elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _content(text: str = "plain") -> SectionPage:
    drawing = Drawing()
    drawing.add_subplot().set_title(text.replace("$", ""))
    pixel = embed_image(np.zeros((1, 4, 4), np.float32))
    section = Section(
        anchor="part",
        title=text,
        text=text,
        points=[text],
        facts={text: text},
        tables=[Table(header=[text, "n"], rows=[[text, "1"]], caption=text), _links(text)],
        figures=[embed_figure(drawing, text)],
        errors=[
            WorstError(case_id=text, label=text, predicted=text, probability=0.9, thumbnail=pixel)
        ],
    )
    return SectionPage(
        name=text,
        intended_use=text,
        verdict=text,
        headline={text: text},
        warnings=[text],
        sections=[section],
        versions={text: text},
        created=text,
    )


def _links(text: str) -> Table:
    links = [Link(anchor="part", title=text), Link(anchor="versions", title=text)]
    return Table(header=["where"], rows=[[links]])


def test_names_break_at_their_joints_and_only_long_pieces_anywhere() -> None:
    html = render_sections(_bare(tables=[Table(header=["mini:densenet"], rows=[["a/b_<c>"]])]))
    assert '<th scope="col">mini:<wbr>densenet</th>' in html
    assert '<th scope="row">a/<wbr>b_&lt;c&gt;</th>' in html
    assert pieces("1 / 2") == [("1 / 2", False)]
    assert pieces("sha:" + "x" * 25) == [("sha:", False), ("x" * 25, True)]
    assert pieces("NEAR_DUPLICATES of x") == [("NEAR_", False), ("DUPLICATES of x", False)]


def _bare(**changes: Any) -> SectionPage:
    return SectionPage(name="bare", sections=[Section(anchor="part", title="Part", **changes)])


def test_every_text_is_escaped_wherever_it_stands() -> None:
    page = _Page(render_sections(_content(EVIL)))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    # Shown as text: in the title, the header, and every part of the body.
    assert page.text.count("<script>alert('x')</script>") >= 15


@given(st.text(max_size=30))
def test_any_text_gives_a_well_formed_page_without_a_script(text: str) -> None:
    page = _Page(render_sections(replace(_bare(facts={text: text}), name=text, verdict=text)))
    assert "script" not in page.tags


def test_the_page_loads_nothing_from_anywhere() -> None:
    page = _Page(render_sections(_content()))
    addresses = [value for name, value in page.attributes if name in ("src", "href") and value]
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert {"link", "script", "iframe", "object"}.isdisjoint(page.tags)
    assert "url(" not in render_sections(_content())


def test_every_link_has_a_target_and_every_section_a_link() -> None:
    page = _Page(render_sections(_content()))
    targets = {value for name, value in page.attributes if name == "id"}
    links = {value[1:] for name, value in page.attributes if name == "href" and value}
    assert links == targets


def test_sections_are_numbered_as_they_come_and_links_say_the_number() -> None:
    page = _Page(render_sections(_content()))
    assert "1 plain , 2 plain" in page.text


def test_empty_parts_are_left_out() -> None:
    filled = Section(anchor="b", title="Filled", text="something")
    empty = Section(anchor="a", title="Empty")
    html = render_sections(SectionPage(name="bare", sections=[empty, filled]))
    assert "Empty" not in html
    assert _Page(html).text.count("1 Filled") == 1


def test_pictures_have_alternative_texts() -> None:
    page = _Page(render_sections(_content("shown")))
    assert [value for name, value in page.attributes if name == "alt"] == [
        "shown", "Image of case shown"
    ]  # fmt: skip


@pytest.mark.parametrize("uri", ["http://evil.example/x.png", "data:text/html;base64,AAAA"])
def test_a_picture_from_elsewhere_is_refused(uri: str) -> None:
    with pytest.raises(OutputError, match="not a base64 data: URI"):
        render_sections(_bare(figures=[Figure(uri=uri, caption="")]))
    error = WorstError(case_id="a", label="b", predicted="c", probability=1, thumbnail=uri)
    with pytest.raises(OutputError, match="not a base64 data: URI"):
        render_sections(_bare(errors=[error]))


def test_a_file_name_that_is_not_unicode_does_not_break_the_page(tmp_path: Path) -> None:
    page = SectionPage(name="scan\udcff.png\0")
    text = write_sections(page, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "scan?.png" in text


def test_only_the_owner_may_read_the_page(tmp_path: Path) -> None:
    path = write_sections(SectionPage(name="x"), tmp_path / "report.html")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
