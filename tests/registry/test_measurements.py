from __future__ import annotations

import sys
from pathlib import Path

import pytest

from medfuse.errors import PluginError
from medfuse.registry import Measurement, read_measurements
from medfuse.registry.measurements import measurements_text

FOUND = {
    "flat": Measurement(2, (64, 64), (6, 32, 32), 6, 60, 1024, "chest X-rays", "MIT"),
    "deep": Measurement(3, (9, 9, 9), (4, 3, 3, 3), 4, 10, 90, "", ""),
}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "acme_tables").mkdir()
    (tmp_path / "acme_tables" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_tables", raising=False)  # of another test
    return tmp_path / "acme_tables" / "measured.json"


def test_a_table_reads_as_it_was_written(table: Path) -> None:
    table.write_text(measurements_text(FOUND))
    assert read_measurements("acme_tables:measured.json") == FOUND


def test_a_table_has_a_line_for_each_network(table: Path) -> None:
    lines = measurements_text(FOUND).splitlines()
    assert [line.strip().partition(":")[0] for line in lines[1:-1]] == ['"flat"', '"deep"']


def test_no_table_is_an_empty_one() -> None:
    assert read_measurements(None) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"format": 2, "networks": {}}', "format 2, expected 1"),
        ('{"format": 1, "networks": {"flat": {"width": 3}}}', "KeyError"),
    ],
)
def test_a_damaged_table_is_named(table: Path, content: str, reason: str) -> None:
    table.write_text(content)
    with pytest.raises(PluginError, match=rf"'acme_tables:measured.json' cannot be read.*{reason}"):
        read_measurements("acme_tables:measured.json")


@pytest.mark.parametrize("place", ["acme_tables:absent.json", "no_such_package:measured.json"])
def test_an_absent_table_says_how_it_is_written(table: Path, place: str) -> None:
    with pytest.raises(PluginError, match="Write it with: medfuse plugins measure"):
        read_measurements(place)


def test_a_place_of_another_form_is_refused() -> None:
    with pytest.raises(PluginError, match="measured is 'measured.json', expected the form package"):
        read_measurements("measured.json")
