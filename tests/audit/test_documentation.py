"""docs/data_check.md says what the check does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import medfuse.audit
from medfuse.audit import audit, shortcuts
from medfuse.audit.duplicates import LEAST_CORRELATION, MOST_BITS
from medfuse.audit.trivial import GROUPS
from tests.audit.conftest import picture

PAGE = (Path(__file__).parents[2] / "docs" / "data_check.md").read_text(encoding="utf-8")


def test_thresholds_are_those_of_the_code() -> None:
    assert f"at most **{MOST_BITS} bits**" in PAGE
    assert f"at least **{LEAST_CORRELATION}**" in PAGE
    text = " ".join(PAGE.split())
    assert f"a lower end of at least {shortcuts.CLEAR}, **strong** of {shortcuts.STRONG}" in text


def test_every_group_of_trivial_features_is_named() -> None:
    section = PAGE.split("## Shortcuts")[1].split("## ")[0]
    assert [group.name for group in GROUPS if group.name not in section] == []


def test_every_code_of_a_finding_is_listed() -> None:
    source = (Path(medfuse.audit.__file__).parent / "findings.py").read_text()
    codes = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', source)) - {"LABELS", "PARTS"}
    codes |= {f"{k}_DUPLICATES{e}" for k in ("EXACT", "NEAR") for e in ("", "_ACROSS_LABELS")}
    section = PAGE.split("## Findings")[1].split("## ")[0]
    assert "BLANK" in codes
    assert sorted(code for code in codes if f"`{code}`" not in section) == []


@pytest.mark.slow
def test_every_key_of_the_json_is_described(save, cohort_of) -> None:
    rows = [{"file": save(f"{n}.png", picture(min(n, 22), 40))} for n in range(24)]
    summary = audit(cohort_of(rows), progress=False).summary()
    section = PAGE.split("## `check.json`")[1]
    parts = (summary, summary["tables"]["class"][0], summary["duplicates"][0],
             summary["shortcuts"], summary["shortcuts"]["groups"][0], summary["findings"][0],
             summary["patients"], summary["refused"])  # fmt: skip
    missing = {key for part in parts for key in part if f"`{key}`" not in section}
    assert missing == set()
