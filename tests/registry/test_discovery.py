from __future__ import annotations

import logging
import os
import re
import subprocess
import sys

import pytest

from medfuse.errors import PluginError
from medfuse.registry import load_registry

HEAD = "from medfuse.contract import *\n"
GOOD = HEAD + (
    "@hookimpl\n"
    "def medfuse_heads():\n"
    "    yield HeadSpec(name='good', summary='s', factory='a.b:c')\n"
)

BROKEN = {
    "import error": ("import no_such_library\n", "ModuleNotFoundError.*no_such_library"),
    "syntax error": ("x = 1\ndef :\n", r"bad_plugin\.py, line 2: invalid syntax"),
    "exit": ("import sys\nsys.exit(3)\n", "raised SystemExit: 3"),
    "error beside Exception": (
        "class Odd(BaseException): pass\nraise Odd('no luck')\n",
        "raised Odd: no luck",
    ),
    "any error": ("1 / 0\n", "raised ZeroDivisionError"),
    "wrong API": (GOOD + "MEDFUSE_API = 2\n", "MEDFUSE_API is 2, this medfuse has 1"),
    "misspelt hook": (
        GOOD.replace("medfuse_heads", "medfuse_head"),
        'medfuse_head is no hook of medfuse.*Did you mean "medfuse_heads"',
    ),
    "unmarked hook": (GOOD.replace("@hookimpl\n", ""), "medfuse_heads is not marked.*@hookimpl"),
    "hook with arguments": (
        GOOD.replace("medfuse_heads()", "medfuse_heads(x)"),
        "hook with the wrong arguments: .*'x'",
    ),
    "raising hook": (
        HEAD + "@hookimpl\ndef medfuse_heads():\n    raise RuntimeError('no luck')\n",
        "medfuse_heads raised RuntimeError: no luck",
    ),
    "hook raising after a spec": (GOOD + "    1 / 0\n", "medfuse_heads raised ZeroDivisionError"),
    "hook that exits": (
        HEAD + "@hookimpl\ndef medfuse_heads():\n    raise SystemExit(0)\n",
        "medfuse_heads raised SystemExit",
    ),
    "hook without result": (
        HEAD + "@hookimpl\ndef medfuse_heads():\n    pass\n",
        "medfuse_heads returned None, expected HeadSpecs to be yielded",
    ),
    "hook returning one spec": (
        GOOD.replace("yield", "return"),
        "medfuse_heads returned a HeadSpec, expected HeadSpecs to be yielded",
    ),
    "no spec": (
        HEAD + "@hookimpl\ndef medfuse_heads():\n    yield 'mlp'\n",
        "medfuse_heads yielded 'mlp', expected HeadSpec",
    ),
    "spec of another kind": (
        GOOD.replace("medfuse_heads", "medfuse_metrics"),
        "medfuse_metrics yielded HeadSpec.*expected MetricSpec",
    ),
    "two of one name": (
        GOOD + "    yield HeadSpec(name='good', summary='s', factory='a.b:d')\n",
        "medfuse_heads yielded two specs named 'good'",
    ),
    "bad name": (GOOD.replace("'good'", "'Good Head'"), "name 'Good Head', expected lower-case"),
    "bad factory": (GOOD.replace("a.b:c", "a.b.c"), "good names 'a.b.c', expected a text"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_listed_with_its_reason_and_contributes_nothing(
    install_plugin, case: str
) -> None:
    source, reason = BROKEN[case]
    install_plugin("bad", source)
    install_plugin("fine", GOOD)
    registry = load_registry()
    status = {plugin.name: plugin for plugin in registry.plugins}
    assert (status["bad"].status, status["bad"].distribution) == ("broken", "bad-dist")
    assert "\n" not in status["bad"].reason
    with pytest.raises(PluginError, match=reason):
        registry.head("bad:good")
    assert status["fine"].status == "ok"
    assert [plugin for plugin, spec in registry.components("head") if spec.name == "good"] == [
        "fine"
    ]


def test_a_sound_plugin_is_listed_with_its_distribution_and_counts(install_plugin) -> None:
    install_plugin("fine", "MEDFUSE_API = 1\n" + GOOD)
    status = next(p for p in load_registry().plugins if p.name == "fine")
    assert (status.status, status.version, dict(status.counts)) == ("ok", "1.0", {"head": 1})


def test_an_optional_hook_of_a_later_medfuse_is_ignored(install_plugin) -> None:
    install_plugin("fine", GOOD + "@hookimpl(optionalhook=True)\ndef medfuse_later():\n    pass\n")
    assert next(p for p in load_registry().plugins if p.name == "fine").status == "ok"


def test_an_entry_point_without_module_is_broken(install_plugin) -> None:
    install_plugin("gone", GOOD)
    sys.modules.pop("gone_plugin", None)
    install_plugin("other", GOOD)
    from pathlib import Path

    site = Path(sys.path[0])
    (site / "gone_plugin.py").unlink()
    assert "no module 'gone_plugin'" in next(
        p.reason for p in load_registry().plugins if p.name == "gone"
    )


def test_an_entry_point_must_name_a_module(install_plugin) -> None:
    from pathlib import Path

    install_plugin("bad", GOOD)
    entry_points = next(Path(sys.path[0]).glob("bad*/entry_points.txt"))
    entry_points.write_text("[medfuse]\nbad = bad_plugin:medfuse_heads\n")
    status = next(p for p in load_registry().plugins if p.name == "bad")
    assert "expected a module, without a colon" in status.reason


def test_two_packages_with_one_plugin_name_are_both_broken(install_plugin) -> None:
    install_plugin("twin", GOOD)
    install_plugin("twin", GOOD, distribution="second-dist")
    twins = [p for p in load_registry().plugins if p.name == "twin"]
    assert [p.status for p in twins] == ["broken", "broken"]
    assert "2 installed packages have a plugin named 'twin'" in twins[0].reason


def test_nobody_can_take_the_name_of_the_builtin_plugin(install_plugin) -> None:
    install_plugin("builtin", GOOD)
    status = {p.distribution: p.status for p in load_registry().plugins if p.name == "builtin"}
    assert status == {"medfuse": "ok", "builtin-dist": "broken"}


def test_strict_raises_naming_plugin_and_package(install_plugin, monkeypatch) -> None:
    install_plugin("bad", "1 / 0\n")
    monkeypatch.setenv("MEDFUSE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"plugin bad \(bad-dist\): .*ZeroDivisionError"):
        load_registry()


def test_a_blocked_plugin_is_not_even_imported(install_plugin, monkeypatch) -> None:
    install_plugin("bad", "1 / 0\n")
    install_plugin("fine", GOOD)
    monkeypatch.setenv("MEDFUSE_BLOCK_PLUGINS", "bad, fine")
    monkeypatch.setenv("MEDFUSE_STRICT_PLUGINS", "1")
    status = {p.name: p.status for p in load_registry().plugins}
    assert (status["bad"], status["fine"]) == ("blocked", "blocked")
    assert "bad_plugin" not in sys.modules
    with pytest.raises(PluginError, match="plugin fine is left out by MEDFUSE_BLOCK_PLUGINS"):
        load_registry().head("fine:good")


def test_blocking_what_is_not_installed_is_said(install_plugin, monkeypatch, caplog) -> None:
    install_plugin("fine", GOOD)
    monkeypatch.setenv("MEDFUSE_BLOCK_PLUGINS", "fien")
    monkeypatch.setattr(logging.getLogger("medfuse"), "propagate", True)
    load_registry()
    assert "names 'fien', which is not installed. Did you mean \"fine\"?" in caplog.text


def test_what_a_plugin_prints_does_not_reach_stdout(install_plugin, capsys) -> None:
    install_plugin("loud", "print('importing')\n" + GOOD + "    print('yielding')\n")
    load_registry()
    out, err = capsys.readouterr()
    assert out == ""
    assert "importing" in err
    assert "yielding" in err


def test_an_interrupt_is_not_taken_for_a_broken_plugin(install_plugin) -> None:
    install_plugin("bad", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_registry()


def seconds_of_children() -> float:
    """Return the seconds of processors of ended children, on which other work weighs less."""
    spent = os.times()
    return spent.children_user + spent.children_system


def test_listing_imports_no_heavy_library_and_takes_under_a_second() -> None:
    program = (
        "import sys; from medfuse.cli.main import run; run(['plugins', 'list']);"
        "heavy = {'torch', 'monai', 'timm', 'torchvision', 'ignite'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    seconds = []
    for _ in range(3):
        start = seconds_of_children()
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        seconds.append(seconds_of_children() - start)
        assert done.returncode == 0, done.stderr
        assert "builtin" in done.stdout
    assert min(seconds) < 1


@pytest.mark.parametrize(
    ("argument", "hint"),
    [("summry='s'", 'Did you mean "summary"'), ("stem_='x'", "Did you mean"), ("qqq=1", "'qqq'$")],
)
def test_a_misspelt_argument_of_a_spec_gets_a_suggestion(install_plugin, argument, hint) -> None:
    source = (
        "from medfuse.contract import *\n@hookimpl\ndef medfuse_backbones():\n"
        f"    yield BackboneSpec(name='n', factory='a.b:c', {argument})\n"
    )
    install_plugin("acme", source)
    (status,) = [status for status in load_registry().plugins if status.name == "acme"]
    assert re.search(f"unexpected keyword argument.*{hint}", status.reason)
