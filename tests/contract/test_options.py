from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.contract import Option, resolve_options
from medfuse.errors import ConfigError

WIDTH = Option(name="width", kind="int", default=8, minimum=1, maximum=64)
RATE = Option(name="rate", kind="float", default=0.5, minimum=0, maximum=1)
PAD = Option(name="pad", kind="str", choices=("same", "valid"))


def test_defaults_fill_what_is_not_given_and_none_is_not_passed() -> None:
    assert resolve_options([WIDTH, RATE, PAD], {}, "net") == {"width": 8, "rate": 0.5}
    assert resolve_options([WIDTH], {"width": None}, "net") == {"width": 8}


@given(st.integers())
def test_a_number_passes_exactly_within_its_range(value: int) -> None:
    if 1 <= value <= 64:
        assert resolve_options([WIDTH], {"width": value}, "net") == {"width": value}
    else:
        with pytest.raises(ConfigError, match="expected int, 1 to 64"):
            resolve_options([WIDTH], {"width": value}, "net")


def test_an_integer_passes_for_a_float() -> None:
    assert resolve_options([RATE], {"rate": 1}, "net") == {"rate": 1}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("width", "8", "net: option 'width' is '8', expected int"),
        ("width", True, "option 'width' is True, expected int"),
        ("width", 1.5, "option 'width' is 1.5, expected int"),
        ("pad", "sane", 'expected same or valid. Did you mean "same"'),
        ("rate", 1.5, "option 'rate' is 1.5, expected float, 0 to 1"),
        ("rate", float("nan"), "option 'rate' is nan, expected float"),
        ("widht", 8, "unknown option 'widht', expected one of.*Did you mean \"width\""),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name, value, text) -> None:
    with pytest.raises(ConfigError, match=text):
        resolve_options([WIDTH, RATE, PAD], {name: value}, "net")


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"minimum": 1}, "int, 1 or more"),
        ({"maximum": 8}, "int, at most 8"),
        ({"minimum": 1, "maximum": 16777216}, "int, 1 to 16777216"),
        ({}, "int"),
        ({"choices": (1,)}, "1"),
    ],
)
def test_an_option_says_what_it_accepts(limits, text) -> None:
    assert Option(name="n", kind="int", **limits).accepts == text


def test_open_options_pass_undeclared_keywords_on() -> None:
    given = {"bn_eps": 0.001, "width": 4}
    assert resolve_options([WIDTH], given, "net", open_ended=True) == {"bn_eps": 0.001, "width": 4}


def test_a_list_is_copied() -> None:
    sizes = Option(name="sizes", kind="list")
    given = [1, 2]
    assert resolve_options([sizes], {"sizes": given}, "net")["sizes"] is not given
