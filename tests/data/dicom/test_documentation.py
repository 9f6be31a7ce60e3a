from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from medfuse.data.dicom import refusal
from medfuse.data.dicom.refusal import EVENTS, REFUSALS, SKIPS

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGE = REPOSITORY / "medfuse" / "data" / "dicom"
SECTIONS = {"Refusals": REFUSALS, "Left out of a listing": SKIPS, "Events": EVENTS}


@pytest.mark.parametrize("title", SECTIONS)
def test_the_page_lists_the_codes_of_the_code(title: str) -> None:
    page = (REPOSITORY / "docs" / "dicom.md").read_text(encoding="utf-8")
    section = page.split(f"## {title}\n")[1].split("\n## ")[0]
    written = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE))
    assert written == dict(SECTIONS[title])


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_the_package_needs_numpy_and_pydicom_and_nothing_of_medfuse(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level in (0, 1)
            names = [] if node.level else [str(node.module)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        tops = {name.split(".")[0] for name in names}
        assert tops <= {"numpy", "pydicom", *sys.stdlib_module_names}


def test_codes_in_the_source_are_in_the_tables() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.glob("*.py"))
    raised = set(re.findall(r'refusal\(\s*"(\w+)"', source))
    assert raised <= set(REFUSALS)
    assert set(refusal.REFUSALS) >= {"MOSAIC", "TIMEOUT"}
