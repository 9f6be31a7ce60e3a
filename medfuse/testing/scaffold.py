"""Write a new plugin package that passes the conformance kit as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from medfuse.contract import ENTRY_POINT_GROUP
from medfuse.errors import OutputError, PluginError
from medfuse.storage import atomic_folder

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_LONGEST = 40
_FILES = {
    "pyproject.toml.tmpl": "pyproject.toml",
    "README.md.tmpl": "README.md",
    "plugin.py.tmpl": "{{package}}/__init__.py",
    "network.py.tmpl": "{{package}}/network.py",
    "test_plugin.py.tmpl": "tests/test_plugin.py",
}


def write_plugin(name: str, out: Path) -> Path:
    """Write a package ``medfuse-NAME`` below ``out`` and return its folder.

    Args:
        name: what the plugin will be called in sources and configurations.
        out: folder in which the package's folder is made.

    Raises:
        PluginError: the name cannot be used, or an installed plugin has it.
        OutputError: the package's folder exists, or cannot be written; nothing is left behind.
    """
    _check_name(name)
    distribution = f"medfuse-{name.replace('_', '-')}"
    folder = out / distribution
    if folder.exists():
        raise OutputError(f"{folder} exists already. Choose another name, or another --out folder.")
    values = {"name": name, "distribution": distribution, "package": distribution.replace("-", "_")}
    templates = files("medfuse.templates") / "plugin"
    with atomic_folder(folder) as staging:
        for template, place in _FILES.items():
            path = staging / _filled(place, values)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (templates / template).read_text(encoding="utf-8")
            path.write_text(_filled(text, values), encoding="utf-8")
    return folder


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise PluginError(
            f"plugin name {name!r}: expected up to {_LONGEST} lower-case letters, digits "
            "and single '-' or '_' between them, beginning with a letter, as in 'lung-nets'."
        )
    if name.startswith(("medfuse-", "medfuse_")) or name == "medfuse":
        raise PluginError(f"plugin name {name!r}: leave 'medfuse' out, it is put in front.")
    if name in {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}:
        raise PluginError(f"plugin name {name!r}: an installed plugin has it. Choose another.")


def _filled(text: str, values: Mapping[str, str]) -> str:
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", value)
    return text
