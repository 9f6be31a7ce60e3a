"""The check of a cohort, as a value and as files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfuse.audit import Audit
from medfuse.config import CohortConfig, InputConfig
from medfuse.errors import CohortError
from medfuse.workflows.check import check
from tests.audit.conftest import picture, volume_file


def write_cohort(folder: Path) -> CohortConfig:
    """Write 12 cases of a picture, one a copy with another label, and one that is cut."""
    rows = ["case_id,label,patient_id,site,image"]
    for place in range(12):
        pixels = picture(0 if place == 3 else place, 64)
        Image.fromarray(pixels).save(folder / f"{place}.png")
        site = "north" if place < 6 else "south"
        rows.append(f"c{place},{'ab'[place % 2]},Doe^{place // 2},{site},{place}.png")
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:300])
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return CohortConfig(path=str(folder / "cases.csv"))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Path]:
    folder = tmp_path_factory.mktemp("cohort")
    return check(write_cohort(folder), folder / "out", progress=False), folder / "out"


def test_without_a_folder_nothing_is_written_but_what_takes_long_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = write_cohort(tmp_path)
    before = sorted(tmp_path.iterdir())
    with caplog.at_level("INFO", "medfuse"):
        assert check(cohort, progress=False).scan.codes() == {"TRUNCATED": 1}
    assert "reading 12 files of 12 cases" in caplog.text
    assert sorted(tmp_path.iterdir()) == before


def test_the_json_is_the_summary_of_the_value(checked: tuple[Audit, Path]) -> None:
    found, out = checked
    written = json.loads((out / "check.json").read_text())
    assert written == json.loads(json.dumps(found.summary()))
    assert (written["schema_version"], written["cases"], written["files"]) == (1, 12, 12)
    assert written["trainable"] is False
    assert written["duplicates"][0]["cases"] == ["c0", "c3"]
    assert written["duplicates"][0]["labels"] == ["a", "b"]
    assert written["refused"] == {
        "codes": {"TRUNCATED": 1},
        "files": [{"case_id": "c5", "input": "image", "code": "TRUNCATED"}],
    }
    assert [row["name"] for row in written["tables"]["site"]] == ["north", "south"]


def test_the_table_has_a_row_for_each_file(checked: tuple[Audit, Path]) -> None:
    with (checked[1] / "files.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case_id"] for row in rows] == [f"c{place}" for place in range(12)]
    assert {row["status"] for row in rows if row["case_id"] != "c5"} == {"ok"}
    assert (rows[5]["status"], rows[5]["shape"], rows[5]["site"]) == ("TRUNCATED", "", "north")
    assert (rows[0]["shape"], rows[0]["bits"], rows[0]["kind"]) == ("64 x 64", "8", "PNG")
    assert float(rows[0]["mean"]) == pytest.approx(picture(0, 64).mean(), rel=1e-4)
    assert rows[0]["pixel_digest"] == rows[3]["pixel_digest"] != rows[1]["pixel_digest"]


def test_what_is_written_is_private_and_names_no_patient(checked: tuple[Audit, Path]) -> None:
    files = [path for path in checked[1].rglob("*") if path.is_file()]
    assert {"check.html", "check.json", "files.csv"} < {path.name for path in files}
    assert [path.name for path in files if path.stat().st_mode & 0o077] == []
    assert [path.name for path in files if b"Doe" in path.read_bytes()] == []
    assert str(checked[1].parent).encode() not in (checked[1] / "check.html").read_bytes()


@pytest.mark.slow
def test_volumes_are_checked_like_images(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "a", "b", "b")):
        (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
        codes = "RAS" if number else "LPS"
        volume_file(tmp_path / "in" / name / f"{number}.nii.gz", codes)
    found = check(CohortConfig(path=str(tmp_path / "in")), tmp_path / "out", progress=False)
    (group,) = found.groups("exact")
    assert len(group.members) == 4
    assert found.tables["class"][-1].spacing["median"] == (0.5, 0.5, 3.0)
    assert {"samples.png", "sizes.png", "intensities.png"} <= {
        path.name for path in (tmp_path / "out" / "plots").iterdir()
    }


def test_the_configuration_says_what_training_accepts(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path).model_copy(update={"on_bad_image": "skip"})
    found = check(cohort, inputs={"image": InputConfig()}, progress=False)
    assert {f.code: f.level for f in found.findings}["REFUSED_FILES"] == "warning"


@pytest.mark.slow
def test_several_inputs_have_figures_of_their_own(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint8) + picture(1, 40)).save(tmp_path / "x.png")
    volume_file(tmp_path / "v.nii.gz")
    rows = [f"c{n},{'ab'[n % 2]},v.nii.gz,x.png" for n in range(4)]
    (tmp_path / "cases.csv").write_text("\n".join(["case_id,label,ct,xray", *rows]))
    inputs = {"ct": InputConfig(), "xray": InputConfig()}
    cohort = CohortConfig(path=str(tmp_path / "cases.csv"))
    check(cohort, tmp_path / "out", inputs=inputs, progress=False)
    drawn = {path.stem for path in (tmp_path / "out" / "plots").iterdir()}
    assert {"samples_ct", "samples_xray", "sizes_ct", "sizes_xray", "intensities_ct"} <= drawn


def test_a_cohort_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="absent"):
        check(CohortConfig(path=str(tmp_path / "absent")), progress=False)
