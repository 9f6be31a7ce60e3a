"""Options that take whole numbers, of all commands."""

from __future__ import annotations

import argparse

import pytest

from medfuse.cli.counts import at_least
from medfuse.cli.main import run


@pytest.mark.parametrize(
    ("command", "option", "number", "least"),
    [
        ("compare e.yaml --out there", "--folds", "1", 2),
        ("compare e.yaml --out there", "--members", "0", 1),
        ("compare e.yaml --out there", "--draws", "some", 1),
        ("compare e.yaml --out there", "--scratch-epochs", "-3", 1),
        ("compare e.yaml --out there", "--workers", "1.5", 1),
        ("evaluate bundle images --out there", "--bootstrap", "-1", 0),
        ("explain bundle --out there", "--neighbors", "-1", 0),
        ("predict bundle images", "--batch-size", "0", 1),
        ("sources list", "--limit", "-1", 0),
        ("sources rank images", "--cases", "0", 1),
        ("sources rank images", "--pick", "0", 1),
    ],
)
def test_wrong_number_is_named_with_its_option(
    command: str,
    option: str,
    number: str,
    least: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*command.split(), option, number]) == 2
    said = f"argument {option}: found {number!r}, expected a whole number, {least} or more"
    assert said in capsys.readouterr().err


def test_least_number_and_more_are_taken() -> None:
    assert [at_least(2)(text) for text in ("2", "50")] == [2, 50]
    with pytest.raises(
        argparse.ArgumentTypeError, match="found '1', expected a whole number, 2 or more"
    ):
        at_least(2)("1")
