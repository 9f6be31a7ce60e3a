from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medfuse.errors import OutputError, PluginError
from medfuse.testing import check_plugin
from medfuse.testing.scaffold import write_plugin


def test_a_new_plugin_is_a_whole_package(tmp_path: Path) -> None:
    folder = write_plugin("lung-nets", tmp_path)
    assert folder == tmp_path / "medfuse-lung-nets"
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert found == [
        "README.md",
        "medfuse_lung_nets/__init__.py",
        "medfuse_lung_nets/network.py",
        "pyproject.toml",
        "tests/test_plugin.py",
    ]
    assert not any("{{" in path.read_text() for path in folder.rglob("*") if path.is_file())
    assert 'lung-nets = "medfuse_lung_nets"' in (folder / "pyproject.toml").read_text()


@pytest.mark.slow
def test_a_new_plugin_passes_the_kit_as_it_is(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(write_plugin("fresh", tmp_path))
    found = check_plugin("medfuse_fresh")
    assert {f.status for f in found} == {"passed"}
    assert "rebuilds alone" in {f.check for f in found}
    for module in [m for m in sys.modules if m.startswith("medfuse_fresh")]:
        del sys.modules[module]


@pytest.mark.slow
def test_the_tests_of_a_new_plugin_pass(tmp_path: Path) -> None:
    folder = write_plugin("fresh", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


@pytest.mark.parametrize(
    "name", ["", "Lung", "1net", "a b", "a--b", "-a", "a-", "../a", "a.b", "a" * 41, "é"]
)
def test_a_name_that_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PluginError, match="expected up to 40 lower-case letters"):
        write_plugin(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_medfuse_is_not_put_in_front_twice(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="leave 'medfuse' out"):
        write_plugin("medfuse-lung", tmp_path)


def test_the_name_of_an_installed_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="'builtin': an installed plugin has it"):
        write_plugin("builtin", tmp_path)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "medfuse-lung" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(OutputError, match="medfuse-lung exists already"):
        write_plugin("lung", tmp_path)
    assert [p.name for p in kept.parent.iterdir()] == ["notes.txt"]


def test_nothing_is_half_written(tmp_path: Path, monkeypatch) -> None:
    whole = Path.write_text

    def full_disk(path: Path, *args, **kwargs) -> int:
        if path.name == "network.py":
            raise OSError(28, "No space left on device")
        return whole(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        write_plugin("lung", tmp_path)
    assert list(tmp_path.iterdir()) == []
