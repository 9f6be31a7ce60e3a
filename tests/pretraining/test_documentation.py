from __future__ import annotations

import re
from pathlib import Path

import pytest

from medfuse.pretraining.methods import settled
from medfuse.pretraining.network import build_trainee
from medfuse.pretraining.settings import PretrainingSettings, ViewSettings
from medfuse.registry import load_registry
from tests.pretraining.conftest import settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pretraining.md"


@pytest.mark.parametrize("section", [PretrainingSettings, ViewSettings])
def test_every_setting_is_documented_with_its_default(section):
    table = next(
        block
        for block in PAGE.read_text().split("\n\n")
        if block.startswith("| key of `views`") == (section is ViewSettings)
        and block.startswith("| key")
    )
    rows = {row.split("`")[1]: row for row in table.splitlines() if row.startswith("| `")}
    assert list(rows) == list(section.model_fields)
    for key, field in section.model_fields.items():
        if isinstance(field.default, int | float | str):
            assert re.search(rf"\| `{str(field.default).lower()}` \|", rows[key].lower()), key


@pytest.mark.parametrize(("column", "method"), [(2, "simclr"), (3, "supervised"), (4, "mae")])
def test_the_views_of_each_method_are_documented(column, method):
    how = {"backbone": "timm:test_vit", "size": 32}
    trainee = build_trainee(settings(**how), load_registry(), 2)
    views = settled(settings(**how, method=method), trainee).views.model_dump()
    table = PAGE.read_text().partition("| key of `views`")[2].split("\n\n")[0]
    cells = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    found = {row[1].strip(" `"): row[column].strip(" `") for row in cells}
    assert found == {k: str(list(v) if isinstance(v, tuple) else v) for k, v in views.items()}
