"""The page is whole, escaped, self-contained and says what it was given."""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure as Drawing

from medfuse.errors import OutputError
from medfuse.report import (
    Figure,
    ReportContent,
    Table,
    WorstError,
    embed_figure,
    embed_image,
    render_report,
    write_report,
)

EVIL = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>"
VOID = {"meta", "img", "br"}


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


def _content(text: str = "plain") -> ReportContent:
    table = Table(header=[text, "n"], rows=[[text, "1"]], caption=text)
    drawing = Drawing()
    drawing.add_subplot().set_title(text.replace("$", ""))
    pixel = embed_image(np.zeros((1, 4, 4), np.float32))
    return ReportContent(
        name=text,
        verdict=text,
        headline={text: text},
        warnings=[text],
        cohort=[table],
        sources=table,
        settings={text: text},
        metrics=[table],
        comparison=table,
        figures=[embed_figure(drawing, text)],
        worst_errors=[
            WorstError(case_id=text, label=text, predicted=text, probability=0.9, thumbnail=pixel)
        ],
        events={text: 3},
        versions={text: text},
        created=text,
    )


def test_every_text_is_escaped_wherever_it_stands() -> None:
    page = _Page(render_report(_content(EVIL)))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    # Shown as text: in the title, the header, and every part of the body.
    assert page.text.count("<script>alert('x')</script>") >= 15


@given(st.text(max_size=30))
def test_any_text_gives_a_well_formed_page_without_a_script(text: str) -> None:
    content = replace(_content_without_figures(), name=text, verdict=text, events={text: 1})
    page = _Page(render_report(content))
    assert "script" not in page.tags


def _content_without_figures() -> ReportContent:
    return ReportContent(name="x", metrics=[Table(header=["a"], rows=[["b"]])])


def test_the_page_loads_nothing_from_anywhere() -> None:
    page = _Page(render_report(_content()))
    addresses = [value for name, value in page.attributes if name in ("src", "href") and value]
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert {"link", "script", "iframe", "object"}.isdisjoint(page.tags)
    assert "url(" not in render_report(_content())


def test_every_link_has_a_target() -> None:
    page = _Page(render_report(_content()))
    targets = {value for name, value in page.attributes if name == "id"}
    links = {value[1:] for name, value in page.attributes if name == "href" and value}
    assert links == targets


def test_the_page_says_that_it_is_no_medical_device() -> None:
    assert "not a medical device" in _Page(render_report(_content())).text


def test_empty_parts_are_left_out_and_no_event_is_said() -> None:
    page = _Page(render_report(ReportContent(name="bare")))
    assert page.text.count("Nothing was skipped") == 1
    headings = re.findall(r"<h2>(.*?)</h2>", render_report(ReportContent(name="bare")))
    assert headings == ["Events"]


@pytest.mark.parametrize("uri", ["http://evil.example/x.png", "data:text/html;base64,AAAA"])
def test_a_picture_from_elsewhere_is_refused(uri: str) -> None:
    content = ReportContent(name="x", figures=[Figure(uri=uri, caption="")])
    with pytest.raises(OutputError, match="not a base64 data: URI"):
        render_report(content)


def test_a_file_name_that_is_not_unicode_does_not_break_the_page(tmp_path: Path) -> None:
    content = ReportContent(name="scan\udcff.png\0")
    text = write_report(content, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "scan?.png" in text


def test_only_the_owner_may_read_the_page(tmp_path: Path) -> None:
    path = write_report(ReportContent(name="x"), tmp_path / "report.html")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
