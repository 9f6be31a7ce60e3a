"""The pages in a real browser: they show something, and the console stays empty."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfuse.config import CohortConfig
from medfuse.workflows.check import check
from medfuse.workflows.train import TrainingOutcome

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CONSOLE = re.compile(r"CONSOLE[:(].*")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian package chromium)"),
]


def shown(page: Path, folder: Path) -> tuple[np.ndarray, list[str]]:
    """Return the page as pixels ``(H, W, 3)``, and what the browser's console says."""
    picture = folder / "shown.png"
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'profile'}",
            "--window-size=1200,3000", f"--screenshot={picture}", page.resolve().as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return np.asarray(Image.open(picture).convert("RGB")), CONSOLE.findall(done.stderr)


def filled(pixels: np.ndarray, parts: int = 5) -> list[bool]:
    """Return which of the page's parts, from top to bottom, show more than one color."""
    return [bool((part != part[0, 0]).any()) for part in np.array_split(pixels, parts)]


def test_the_page_of_a_check(images: Path, tmp_path: Path) -> None:
    check(CohortConfig(path=str(images)), tmp_path / "out", progress=False)
    pixels, console = shown(tmp_path / "out" / "check.html", tmp_path)
    assert console == []
    assert all(filled(pixels))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200, "its figures are drawn"


def test_the_report_of_a_run(finished_run: TrainingOutcome, tmp_path: Path) -> None:
    pixels, console = shown(finished_run.report, tmp_path)
    assert console == []
    assert all(filled(pixels))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200, "its figures are drawn"


def test_a_page_that_is_blank_or_complains_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "blank.html").write_text("<script>console.error('wrong')</script>")
    pixels, console = shown(tmp_path / "blank.html", tmp_path)
    assert "wrong" in console[0]
    assert not any(filled(pixels))
