from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medfuse.cli import main
from medfuse.features.bank import FeatureBank
from medfuse.features.keys import BankKey


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureBank:
    monkeypatch.setenv("MEDFUSE_BANK", str(tmp_path / "bank"))
    bank = FeatureBank()
    for label in ("mini:a", "mini:b"):
        with bank.recipe({"weights": label}, label) as store:
            store.put({BankKey("ab"): np.zeros(9, dtype=np.float32)})
    return bank


def test_stats_list_every_recipe(bank, capsys) -> None:
    assert main.run(["bank", "stats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{bank.folder}: 2 files, ")
    assert lines[1].split() == ["recipe", "images", "rows", "size", "last", "use", "source"]
    assert {line.split()[-1] for line in lines[2:]} == {"mini:a", "mini:b"}


def test_stats_as_json(bank, capsys) -> None:
    assert main.run(["bank", "stats", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["folder"] == str(bank.folder)
    assert {file["source"] for file in result["files"]} == {"mini:a", "mini:b"}
    assert {file["rows"] for file in result["files"]} == {1}
    assert result["bytes"] == bank.used_bytes()


def test_stats_before_the_first_use(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.delenv("MEDFUSE_BANK", raising=False)
    monkeypatch.setenv("MEDFUSE_CACHE", str(tmp_path))
    assert main.run(["bank", "stats"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'bank' / 'v1'}: 0 files, 0 B\n"


@pytest.mark.parametrize("action", ["stats", "prune"])
@pytest.mark.parametrize("option", [True, False])
def test_a_named_folder_without_a_bank_is_an_error(
    tmp_path: Path, monkeypatch, capsys, action: str, option: bool
) -> None:
    for folder, found in ((tmp_path / "none", "no such folder"), (tmp_path, "a folder without")):
        monkeypatch.setenv("MEDFUSE_BANK", str(folder))
        assert main.run(["bank", action, *(["--bank", str(folder)] if option else [])]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert f"{folder}: found {found}" in said.err
        assert "Look at --bank and MEDFUSE_BANK" in said.err


def test_prune_removes_one_recipe(bank, capsys) -> None:
    assert main.run(["bank", "prune", "--recipe", "mini:a"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("removed 1 file, ")
    assert [file.label for file in bank.stats().files] == ["mini:b"]


def test_a_dry_run_removes_nothing(bank, capsys) -> None:
    assert main.run(["bank", "prune", "--all", "--dry-run", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["dry_run"] is True
    assert len(result["removed"]) == 2
    assert len(bank.stats().files) == 2


def test_a_damaged_file_is_shown_with_its_remedy(bank, capsys) -> None:
    bank.stats().files[0].path.write_bytes(b"\xff" * 5000)
    assert main.run(["bank", "stats"]) == 0
    assert "(damaged: medfuse bank prune removes it)" in capsys.readouterr().out
    assert main.run(["bank", "prune"]) == 0
    assert len(bank.stats().files) == 1


def test_an_unknown_recipe_is_one_line_and_exit_1(bank, capsys) -> None:
    assert main.run(["bank", "prune", "--recipe", "mini:c"]) == 1
    assert "no recipe 'mini:c'. Known: mini:a, mini:b." in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "many"])
def test_a_limit_that_is_no_number_is_a_usage_error(bank, value: str, capsys) -> None:
    assert main.run(["bank", "prune", "--max-gb", value]) == 2
    assert f"found {value}, expected 0 or more" in capsys.readouterr().err


def test_no_heavy_import(bank) -> None:
    code = (
        "import sys; from medfuse.cli import main; main.run(['bank', 'stats']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'monai', 'timm', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
