"""MONAI's names are looked for once in a process, and again where it has more modules."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from medfuse.monai_parser import config_parser


def test_the_second_parser_looks_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.bundle.config_item import ComponentLocator

    node = {"_target_": "ScaleIntensityd", "keys": "image"}
    config_parser({"node": node}).get_parsed_content("node")
    monkeypatch.setattr(
        ComponentLocator, "_find_classes_or_functions", lambda *_: pytest.fail("looked again")
    )
    (built,) = config_parser({"nodes": [node]}).get_parsed_content("nodes")
    assert type(built).__name__ == "ScaleIntensityd"


def test_a_module_that_monai_gets_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    config_parser({"x": {"_target_": "ScaleIntensityd", "keys": "image"}}).get_parsed_content("x")
    later = ModuleType("monai.later")
    exec("class Later: pass", later.__dict__)
    monkeypatch.setitem(sys.modules, "monai.later", later)
    monkeypatch.setattr("monai.later", later, raising=False)
    found = config_parser({"x": {"_target_": "Later"}}).get_parsed_content("x")
    assert type(found).__name__ == "Later"
