from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from medfuse.bundle.digests import DIGESTS, check_digests, write_digests
from medfuse.errors import BundleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "b"
    (root / "scripts").mkdir(parents=True)
    (root / "scripts" / "a.py").write_text("x = 1\n")
    (root / "LICENSE").write_text("free\n")
    write_digests(root)
    return root


def test_an_untouched_folder_passes(folder: Path) -> None:
    check_digests(folder)


def test_changed_files_are_named(folder: Path) -> None:
    (folder / "scripts" / "a.py").write_text("x = 2\n")
    with pytest.raises(BundleError, match=r"a\.py: changed since the bundle was written"):
        check_digests(folder)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "LICENSE").unlink()
    with pytest.raises(BundleError, match="LICENSE: named in SHA256SUMS, but absent"):
        check_digests(folder)


def test_added_code_is_refused_but_added_data_is_not(folder: Path) -> None:
    (folder / "eval").mkdir()
    (folder / "eval" / "predictions.csv").write_text("")
    check_digests(folder)
    (folder / "scripts" / "b.py").write_text("")
    with pytest.raises(BundleError, match=r"b\.py: not named in SHA256SUMS"):
        check_digests(folder)


def test_weights_that_are_not_named_are_refused(folder: Path) -> None:
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "model_candidate.pt").write_bytes(b"")
    check_digests(folder)
    (folder / "models" / "distances.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match=r"distances\.safetensors: not named in SHA256SUMS"):
        check_digests(folder)


def test_folders_without_digests_are_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected the digests of a medfuse bundle"):
        check_digests(tmp_path)


@pytest.mark.parametrize("line", ["abc  LICENSE", "0" * 64 + "  ../x", "0" * 64 + "  /etc/passwd"])
def test_malformed_digests_are_refused(folder: Path, line: str) -> None:
    (folder / DIGESTS).write_text(line + "\n")
    with pytest.raises(BundleError, match="malformed line"):
        check_digests(folder)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="promise not shown: no sha256sum here")
def test_sha256sum_agrees(folder: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", DIGESTS], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
