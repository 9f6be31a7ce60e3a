"""What must be installed for a bundle's scripts to be importable."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.metadata import requires as distribution_requires
from pathlib import Path

from medfuse.contract import VendoredSource
from medfuse.errors import BundleError
from medfuse.registry.providers import import_providers
from medfuse.registry.vendoring import check_imports, copy_vendored

_ALWAYS = ("torch", "torchvision", "numpy", "monai", "ignite", "PIL", "tifffile", "pydicom")
# The program `python -m monai.bundle` needs fire, which MONAI does not install by itself.
_RUN_BY = ("pytorch-ignite", "fire")
_IN_EXTRA = re.compile(r";.*extra == ['\"]dicom['\"]")
_WRITE_REPORTS = ("highdicom", "pydicom")
_HAVE_OWN_KEYS = ("torch", "numpy", "monai")


def copy_scripts(modules: Sequence[str], requires: Iterable[str], folder: Path) -> None:
    """Copy ``modules`` into ``folder`` after a check of what they import.

    Raises:
        PluginError: a module imports what a user of the bundle would not have.
    """
    unique = tuple(dict.fromkeys(modules))
    allowed = (*_ALWAYS, *_import_names(requires))
    check_imports(VendoredSource(modules=unique, allowed_imports=allowed))
    copy_vendored(unique, folder)


def required_packages(folder: Path, requires: Iterable[str]) -> dict[str, str]:
    """Return distribution -> installed version for what the scripts import and what was named.

    Args:
        folder: the bundle's ``scripts``.
        requires: distributions that configuration nodes need; a version in them is not kept.

    Raises:
        BundleError: a named distribution is not installed here.
    """
    owners = import_providers()
    texts = (path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    imported = {name for text in texts for name in _top_level_imports(text)}
    names = {owners[name][0] for name in imported if name in owners and name not in _HAVE_OWN_KEYS}
    named = {_name(requirement) for requirement in requires} - {"monai", "numpy", "torch"}
    return {name: _version(name) for name in sorted({*names, *named, *_RUN_BY})}


def optional_decoders(dicom: bool) -> dict[str, str]:
    """Return distribution -> version of the decoders for compressed DICOM files.

    They are those of ``medfuse[dicom]``, without what only reports need; of one that is not
    installed here, the least version.

    Args:
        dicom: whether the bundle reads DICOM; nothing is needed otherwise.
    """
    listed = [text for text in distribution_requires("medfuse") or () if _IN_EXTRA.search(text)]
    wanted = [text.partition(";")[0].strip() for text in listed] if dicom else []
    decoders = [text for text in wanted if _name(text) not in _WRITE_REPORTS]
    return {_name(text): _installed(text) for text in sorted(decoders, key=_name)}


def _installed(requirement: str) -> str:
    try:
        return version(_name(requirement))
    except PackageNotFoundError:
        return requirement.removeprefix(re.split(r"[<>=!~]", requirement)[0])


def _import_names(distributions: Iterable[str]) -> tuple[str, ...]:
    wanted = {_name(requirement) for requirement in distributions}
    return tuple(
        top
        for top, owners in import_providers().items()
        if wanted & {_name(owner) for owner in owners}
    )


def _name(requirement: str) -> str:
    """Return the normalized name in a requirement such as ``timm>=1.0``."""
    name = re.split(r"[\s<>=!~;\[]", requirement.strip(), maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=512)  # one process may write many bundles of the same modules
def _top_level_imports(text: str) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError as error:
        raise BundleError(
            f"distribution {distribution!r} is required by the bundle, but not installed here. "
            f"pip install {distribution}."
        ) from error
