"""Check a bundle in a process of its own, which cannot import medfuse."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from medfuse.bundle.archive import is_archive, unpack
from medfuse.errors import BundleError, OutputError
from medfuse.storage import atomic_folder

TIMEOUT = 600.0

# No current folder on the path, no medfuse, no plugin that the bundle does not ask for.
_LAUNCH = """
import importlib.util, json, sys
sys.path[:] = [entry for entry in sys.path if entry]
settings = json.loads(sys.argv[1])
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in settings["blocked"]:
            raise ModuleNotFoundError(f"{name} is not there when a bundle runs", name=name)
sys.meta_path.insert(0, Blocked())
folder = settings["program"]
spec = importlib.util.spec_from_file_location(
    "bundle_verifier", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["bundle_verifier"] = importlib.util.module_from_spec(spec)
importlib.import_module("bundle_verifier.program").main(settings)
"""


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: short, unique.
        status: what came out; ``skipped`` where the bundle has no such part.
        detail: what was found, in one line.
        code: stable short name of the reason of a failure; empty otherwise.
    """

    name: str
    status: Literal["ok", "failed", "skipped"]
    detail: str
    code: str = ""


@dataclass(frozen=True)
class VerifyReport:
    """All checks of one bundle, in the order in which they ran."""

    path: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return bool(self.checks) and all(check.status != "failed" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {"path": self.path, "ok": self.ok, "checks": [asdict(c) for c in self.checks]}


def verify_bundle(
    path: Path | str,
    schema: Path | str | None = None,
    timeout: float = TIMEOUT,
    *,
    trusted_key: Path | str | None = None,
    unpack_to: Path | str | None = None,
) -> VerifyReport:
    """Return what is right and wrong with a bundle; its code is executed if its files are right.

    The checks run in one process, in a foreign working directory, where medfuse and its plugins
    cannot be imported.

    Args:
        path: the bundle's folder, or a ZIP archive of it, which is unpacked elsewhere.
        schema: MONAI's public JSON schema of ``metadata.json``, checked beside medfuse's own
            rules. It is not part of medfuse: download it from the address under ``schema``.
        timeout: seconds for all checks together.
        trusted_key: public keys (Ed25519, OpenSSH), one of which must have signed the bundle.
        unpack_to: of an archive, the folder that gets the bundle if no check failed.

    Raises:
        BundleError: there is no such folder, or the checks did not come to an end.
        OutputError: there is something at ``unpack_to`` already.
    """
    for file, what in ((schema, "MONAI's metadata schema"), (trusted_key, "a public key")):
        if file is not None and not Path(file).is_file():
            raise BundleError(f"{file}: no such file. Give {what}, or leave it out.")
    files = {"schema": _absolute(schema), "trusted_key": _absolute(trusted_key)}
    if not is_archive(Path(path)):
        return _verified(str(path), Path(path).resolve(), files, timeout)
    with tempfile.TemporaryDirectory(prefix="medfuse-unpacked-") as folder:
        try:
            root = unpack(Path(path), Path(folder)).resolve()
        except BundleError as error:
            return VerifyReport(str(path), (Check("archive", "failed", str(error), error.code),))
        report = _verified(str(path), root, files, timeout)
        if report.ok and unpack_to is not None:
            _keep(root, Path(unpack_to))
    return report


def _absolute(file: Path | str | None) -> str | None:
    return str(Path(file).resolve()) if file else None


def _keep(root: Path, target: Path) -> None:
    if (target / root.name).exists():
        raise OutputError(f"{target / root.name}: exists, and is not replaced. Choose another.")
    with atomic_folder(target / root.name) as folder:
        shutil.copytree(root, folder, dirs_exist_ok=True)


def _verified(path: str, root: Path, files: dict[str, str | None], timeout: float) -> VerifyReport:
    if not root.is_dir():
        raise BundleError(f"{path}: no such folder. Give a bundle, <name>_classification.")
    if not (root / "configs").is_dir():
        raise BundleError(
            f"{path}: no folder configs in it. Give a bundle, <name>_classification; that of a run "
            "lies below its folder bundle."
        )
    with tempfile.TemporaryDirectory(prefix="medfuse-verify-") as work:
        settings = {
            "bundle": str(root),
            "work": work,
            **files,
            "blocked": _blocked_packages(root),
            "program": str(Path(__file__).parent / "verifier"),
            "report": str(Path(work) / "report.json"),
        }
        return VerifyReport(path, _run(settings, timeout))


def _run(settings: dict[str, Any], timeout: float) -> tuple[Check, ...]:
    command = [sys.executable, "-c", _LAUNCH, json.dumps(settings)]
    try:
        done = subprocess.run(
            command, cwd=settings["work"], capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(
            f"{settings['bundle']}: not verified within {timeout:g} s. Give a longer --timeout."
        ) from error
    report = Path(settings["report"])
    if not report.is_file():
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        raise BundleError(
            f"{settings['bundle']}: the verifier ended with status {done.returncode} before any "
            f"result ({lines[-1][:300]})."
        )
    return tuple(Check(**item) for item in json.loads(report.read_text(encoding="utf-8")))


def _blocked_packages(root: Path) -> list[str]:
    """Return medfuse and the packages of its plugins, but what the bundle says it requires."""
    try:
        text = (root / "configs" / "metadata.json").read_text(encoding="utf-8")
        required = {name.lower() for name in json.loads(text)["required_packages_version"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        required = set()  # the verifier itself reports what is wrong with the file
    blocked = {"medfuse"}
    for entry in entry_points(group="medfuse"):
        owner = entry.dist.name.lower() if entry.dist else ""
        if owner not in required:
            blocked.add(entry.module.partition(".")[0])
    return sorted(blocked)
