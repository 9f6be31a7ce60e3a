from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.errors import SourceError
from medfuse.registry import SourceReference, parse_source

NAMES = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
WEIGHTS = st.from_regex(r"[a-z0-9_.-]{0,8}[a-z0-9]", fullmatch=True)
FILES = st.from_regex(r"[A-Za-z0-9_./:@\\-]{0,20}[a-z0-9]", fullmatch=True)
REFERENCES = st.builds(
    SourceReference, st.none() | NAMES, NAMES, st.none() | WEIGHTS, st.none() | FILES
)


@given(REFERENCES)
def test_a_reference_is_read_as_it_is_written(reference: SourceReference) -> None:
    assert parse_source(str(reference)) == reference


@pytest.mark.parametrize(
    ("use", "parts"),
    [
        ("timm:resnet18.a1_in1k", ("timm", "resnet18", "a1_in1k", None)),
        ("timm:vit@w/v1.2:x@y.pt", ("timm", "vit", None, "w/v1.2:x@y.pt")),
        ("mini:small", ("mini", "small", None, None)),
        ("small.v1.2", (None, "small", "v1.2", None)),
    ],
)
def test_first_dot_and_first_at_divide(use: str, parts: tuple) -> None:
    assert parse_source(use) == SourceReference(*parts)


@pytest.mark.parametrize(
    "use", ["", ":", "timm:", ":net", "net.", "net@", ".w", "@f", "a:b:c", " net", "a b"]
)
def test_an_empty_part_is_refused(use: str) -> None:
    with pytest.raises(SourceError, match="expected plugin:name.weights"):
        parse_source(use)
