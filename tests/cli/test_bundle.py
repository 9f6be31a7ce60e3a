from __future__ import annotations

import json
from pathlib import Path

import pytest

import medfuse.bundle
from medfuse.bundle import Check, VerifyReport
from medfuse.cli.main import run


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    calls: list[tuple] = []

    def verify(*arguments: object, **options: object) -> VerifyReport:
        calls.append((*arguments, options))
        status = "failed" if "bad" in str(arguments[0]) else "skipped"
        code = "SCHEMA" if status == "failed" else ""
        checks = (Check("files", "ok", "9 files"), Check("schema", status, "why", code))
        return VerifyReport(str(arguments[0]), checks)

    monkeypatch.setattr(medfuse.bundle, "verify_bundle", verify)
    return calls


def test_one_line_per_check_and_skipped_ones_pass(report, capsys) -> None:
    options = ["--schema", "S", "--timeout", "5", "--trusted-key", "K", "--unpack", "D"]
    assert run(["bundle", "verify", "B", *options]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok       files   9 files",
        "skipped  schema  why",
    ]
    assert report == [("B", "S", 5.0, {"trusted_key": "K", "unpack_to": "D"})]


def test_the_folder_of_a_run_stands_for_its_bundle(report, tmp_path: Path, capsys) -> None:
    inside = tmp_path / "bundle" / "chest_classification"
    inside.mkdir(parents=True)
    assert run(["bundle", "verify", str(tmp_path)]) == 0
    assert report[0][0] == inside
    (tmp_path / "bundle" / "head_classification").mkdir()
    assert run(["bundle", "verify", str(tmp_path)]) == 1
    assert "found neither a bundle nor a run with one" in capsys.readouterr().err
    assert len(report) == 1


def test_a_failed_check_gives_exit_code_one_and_its_code(report, capsys) -> None:
    assert run(["bundle", "verify", "bad"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "failed   schema  SCHEMA: why"


def test_json_holds_the_same(report, capsys) -> None:
    assert run(["bundle", "verify", "bad", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert found["checks"][1] == {
        "name": "schema",
        "status": "failed",
        "detail": "why",
        "code": "SCHEMA",
    }


def test_what_is_no_folder_is_an_error_in_one_line(tmp_path: Path, capsys) -> None:
    assert run(["bundle", "verify", str(tmp_path / "absent")]) == 1
    error = capsys.readouterr().err.strip()
    assert error.endswith("no such folder. Give a bundle, <name>_classification.")
    assert "\n" not in error


def test_a_folder_that_is_no_bundle_is_an_error_in_one_line(tmp_path: Path, capsys) -> None:
    assert run(["bundle", "verify", str(tmp_path)]) == 1
    error = capsys.readouterr().err.strip()
    assert "no folder configs in it. Give a bundle, <name>_classification" in error
    assert "\n" not in error


def test_an_action_is_required() -> None:
    assert run(["bundle"]) == 2
