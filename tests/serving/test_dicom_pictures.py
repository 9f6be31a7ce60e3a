"""An X-ray bundle on DICOM: by folder, by name, under MONAI and under the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medfuse.cli.main import run
from medfuse.serving.predict import load_bundle

pytestmark = pytest.mark.slow


@pytest.fixture
def chests(tmp_path: Path, synthetic) -> Path:
    """One picture as MONOCHROME2 and, inverted, as MONOCHROME1; another; and a localizer."""
    folder = tmp_path / "ward"
    pixels = synthetic.samples(1)
    for name, dataset in {
        "twin-2.dcm": synthetic.projection(pixels),
        "twin-1": synthetic.projection(4095 - pixels, photometric="MONOCHROME1"),
        "IM0003": synthetic.projection(synthetic.samples(2)),
    }.items():
        synthetic.write(dataset, folder / name)
    scout = synthetic.projection(pixels)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    synthetic.write(scout, folder / "scout.dcm")
    return folder


def test_twins_of_both_interpretations_get_the_same_answer(
    bundle: Path, chests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(bundle), str(chests)]) == 0
    captured = capsys.readouterr()
    _, other, first, second = captured.out.splitlines()
    assert first.replace("twin-1,", "") == second.replace("twin-2.dcm,", "")
    assert other.partition(",")[0] == "IM0003"
    assert "LOCALIZER 1" in captured.err


def test_monai_lists_and_answers_the_same(
    bundle: Path, chests: Path, run_rows: Callable[..., list[dict[str, str]]], tmp_path: Path
) -> None:
    rows = run_rows(bundle, chests, tmp_path / "out")
    assert [row["image"] for row in rows] == ["IM0003", "twin-1", "twin-2.dcm"]
    predictor = load_bundle(bundle)
    found = predictor.predict([chests / row["image"] for row in rows])
    for row, prediction in zip(rows, found, strict=True):
        for label, value in prediction.probabilities.items():
            assert value == pytest.approx(float(row[f"prob_{label}"]), abs=1e-5)


def test_a_file_that_cannot_be_read_is_refused_by_name(
    bundle: Path, chests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (chests / "twin-2.dcm").read_bytes()
    (chests / "cut.dcm").write_bytes(whole[:-500])
    (chests / "text.dcm").write_bytes(b"text")
    assert run(["predict", str(bundle), str(chests)]) == 3
    rows = [line.split(",")[:3] for line in capsys.readouterr().out.splitlines()]
    assert ["cut.dcm", "refused", "TRUNCATED"] in rows
    assert ["text.dcm", "refused", "NO_PREAMBLE"] in rows
    assert np.sum([row[1] == "ok" for row in rows]) == 3
