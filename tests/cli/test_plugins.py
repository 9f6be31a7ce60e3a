from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from medfuse.cli.main import run

HEAD = "from medfuse.contract import *\n@hookimpl\ndef medfuse_readers():\n"
READER = (
    HEAD + "    yield ReaderSpec(name='r', summary='s', factory='json:loads', suffixes=('.j',))\n"
)


def test_list_shows_state_package_and_reason_in_columns(install_plugin, capsys) -> None:
    install_plugin("acme", READER)
    install_plugin("bad", "1 / 0\n")
    assert run(["plugins", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    column = lines[0].index("PACKAGE")
    rows = {line.split()[0]: line for line in lines[1:]}
    assert rows["acme"].split() == ["acme", "ok", "acme-dist", "1.0", "1", "reader"]
    assert rows["bad"].split()[1] == "broken"
    assert "ZeroDivisionError" in rows["bad"]
    assert rows["acme"].index("acme-dist") == rows["bad"].index("bad-dist") == column


def test_list_as_json_holds_every_plugin(install_plugin, capsys) -> None:
    install_plugin("acme", READER)
    assert run(["plugins", "list", "--json"]) == 0
    found = {p["name"]: p for p in json.loads(capsys.readouterr().out)}
    assert found["acme"]["counts"] == {"reader": 1}
    assert found["builtin"]["distribution"] == "medfuse"


def test_list_as_json_holds_every_component_with_its_options(capsys) -> None:
    assert run(["plugins", "list", "--json"]) == 0
    found = {p["name"]: p["components"] for p in json.loads(capsys.readouterr().out)}
    own = {(c["kind"], c["name"]): c for c in found["builtin"]}
    heads = next(o for o in own["fusion", "attention"]["options"] if o["name"] == "heads")
    assert heads["kind"] == "int"
    assert (heads["default"], heads["minimum"], heads["maximum"]) == (4, 1, 64)
    assert heads["accepts"] == "int, 1 to 64"
    assert heads["summary"] == "attention heads"
    assert own["head", "mlp"]["summary"].startswith("Gaussian noise")
    assert [c["kind"] for c in found["timm"]] == ["family"]


def test_show_prints_the_options_of_a_component(capsys) -> None:
    assert run(["plugins", "show", "attention"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("fusion builtin:attention: multi-head attention")
    assert re.search(r"^heads +int, 1 to 64 +4 +attention heads$", shown, re.MULTILINE)
    assert re.search(r"^handles_missing +yes$", shown, re.MULTILINE)


def test_show_finds_what_a_plugin_calls_its_own(install_plugin, capsys) -> None:
    install_plugin(
        "acme", HEAD.replace("readers", "metrics") + "    yield MetricSpec(name='mlp',"
        " summary='not a head', factory='json:loads', bounds=(-1.0, 1.0))\n"
    )  # fmt: skip
    assert run(["plugins", "show", "acme:mlp"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("metric acme:mlp: not a head")
    assert "-1.0, 1.0" in shown
    assert "It takes no options." in shown
    assert run(["plugins", "show", "mlp", "--json"]) == 0
    assert [r["kind"] for r in json.loads(capsys.readouterr().out)] == ["head", "metric"]


def test_show_of_a_plugin_lists_what_it_brings(capsys) -> None:
    assert run(["plugins", "show", "builtin"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert ["head", "sigmoid"] in rows
    assert ["fusion", "stacking"] in rows


def test_show_of_an_unknown_name_suggests_the_nearest(capsys) -> None:
    assert run(["plugins", "show", "atention"]) == 1
    assert 'Did you mean "attention"?' in capsys.readouterr().err


def test_check_prints_a_line_for_each_check(install_plugin, capsys) -> None:
    install_plugin("acme", READER)
    assert run(["plugins", "check", "acme"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("acme: 7 passed, 0 failed")
    states = [line.split()[0] for line in lines[:-1]]
    assert states == ["ok"] * 7 + ["skipped"]
    assert "bundles will not read the format" in lines[-2]


@pytest.mark.slow
def test_check_of_a_faulty_plugin_exits_with_one(install_plugin, capsys) -> None:
    install_plugin("acme", READER.replace("'.j'", "'J'"))
    assert run(["plugins", "check", "acme", "--json"]) == 1
    failed = [f for f in json.loads(capsys.readouterr().out) if f["status"] == "failed"]
    assert [(f["component"], f["check"]) for f in failed] == [("reader r", "suffixes")]


def test_check_finds_a_module_in_the_working_directory(tmp_path, monkeypatch, capsys) -> None:
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("plugin_lying_here.py").write_text(READER)
    assert run(["plugins", "check", "plugin_lying_here"]) == 0
    assert "7 passed" in capsys.readouterr().out
    del sys.modules["plugin_lying_here"]


def test_check_of_an_absent_plugin_fails(capsys) -> None:
    assert run(["plugins", "check", "no_such_plugin"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "there is no module 'no_such_plugin', and no plugin of that name" in lines[0]
    assert "Run: pip install -e FOLDER" in lines[0]
    assert lines[1].startswith("no_such_plugin: 0 passed, 1 failed")


def test_check_of_a_module_that_is_there_says_what_it_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (tmp_path / "broken_plugin.py").write_text("raise ImportError(\"there is no module 'libfoo'\")")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run(["plugins", "check", "broken_plugin"]) == 1
    out = capsys.readouterr().out
    assert "importing broken_plugin raised ImportError: there is no module 'libfoo'" in out
    assert "pip install" not in out
    assert run(["plugins", "check", "broken_plugin.inner"]) == 1
    assert "pip install" not in capsys.readouterr().out


def test_new_writes_a_package_and_says_what_comes_next(tmp_path: Path, capsys) -> None:
    assert run(["plugins", "new", "lung", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == str(tmp_path / "medfuse-lung")
    assert "medfuse plugins check lung" in out
    assert (tmp_path / "medfuse-lung" / "medfuse_lung" / "network.py").is_file()


def test_new_into_an_existing_folder_is_one_line_and_exit_one(tmp_path: Path, capsys) -> None:
    (tmp_path / "medfuse-lung").mkdir()
    assert run(["plugins", "new", "lung", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["plugins"], ["plugins", "lst"], ["plugins", "check"]])
def test_wrong_usage_exits_with_two(arguments, capsys) -> None:
    assert run(arguments) == 2
    assert "usage: medfuse plugins" in capsys.readouterr().err
