from __future__ import annotations

import re
from pathlib import Path

import pytest

from medfuse.pretraining.settings import PretrainingSettings, ViewSettings

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
