"""Code that stands alone, copied out of medfuse."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from medfuse.storage import write_text

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def copy_modules(source: Traversable, folder: Path) -> None:
    """Copy the modules of a package; its own ``__init__`` belongs to medfuse alone."""
    for name, item in _modules(source):
        write_text(folder / name, item.read_text(encoding="utf-8"))


def copy_license(folder: Path) -> None:
    """Write the license of what `copy_modules` copies."""
    text = files("medfuse.bundle").joinpath("apache-2.0.txt").read_text(encoding="utf-8")
    write_text(folder / "LICENSE", text)


def _modules(source: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for item in sorted(source.iterdir(), key=lambda item: item.name):
        name = f"{prefix}{item.name}"
        if item.is_dir() and item.name != "__pycache__":
            yield from _modules(item, f"{name}/")
        elif name.endswith(".py") and name != "__init__.py":
            yield name, item
