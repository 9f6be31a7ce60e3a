"""Images that cannot be read: refused, or missing inputs of their cases."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from medfuse.config import Experiment, parse_experiment
from medfuse.data import tally
from medfuse.errors import ImageError
from medfuse.features.bank import FeatureBank
from medfuse.workflows.prepare import PreparedCohort, prepare_cohort

from ..data.bombs import BOMBS  # noqa: TID252 - tests are not installed
from .conftest import experiment_with_table, table_of


def spoiled(images: Path, folder: Path, *cases: str, policy: str = "skip") -> Experiment:
    """Return the experiment of a table in which the images of some cases are empty files."""
    table = table_of(images, folder / "cases.csv")
    lines = [line.split(",") for line in table.read_text().splitlines()]
    for cells in lines[1:]:
        if cells[0] in cases:
            cells[3] = str(folder / f"{cells[0]}.png")
            Path(cells[3]).write_bytes(b"")
    table.write_text("\n".join(",".join(cells) for cells in lines) + "\n")
    cohort = {"path": str(table), "on_bad_image": policy}
    return parse_experiment(experiment_with_table(table, cohort=cohort))


def prepared(experiment: Experiment, tmp_path: Path) -> PreparedCohort:
    return prepare_cohort(experiment, FeatureBank(tmp_path / "bank"), progress=False)


def test_unreadable_image_is_a_missing_input_of_a_case_that_has_another(
    images: Path, tmp_path: Path
) -> None:
    found = prepared(spoiled(images, tmp_path, "c1", "c2"), tmp_path)
    cases = {case.case_id: case for case in found.cohort.cases}
    assert len(cases) == 60
    assert set(cases["c1"].inputs) == {"clinic"}
    assert set(cases["c4"].inputs) == {"clinic", "image"}
    assert tally(found.cohort.events)["EMPTY_FILE"] == 2
    known = dict(zip(cases, found.known().tolist(), strict=True))
    assert known["c1"] == [False, True]


def test_case_that_has_nothing_else_is_left_out(images: Path, tmp_path: Path) -> None:
    found = prepared(spoiled(images, tmp_path, "c3", "c4"), tmp_path)
    names = {case.case_id for case in found.cohort.cases}
    assert len(names) == 59
    assert "c3" not in names  # its cells are blank
    details = {e.subject: e.detail for e in found.cohort.events if e.code == "EMPTY_FILE"}
    assert details == {"c3": "image: case skipped", "c4": "image: input skipped"}


def test_what_reading_took_is_counted_by_code_also_where_nothing_is_read_again(
    images: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(images, tmp_path / "images")
    (root / "notes.txt").write_text("notes")
    picture = Image.open(path := sorted(root.rglob("*.png"))[0])
    picture.load()
    picture.getexif()[0x0112] = 3
    picture.save(path, exif=picture.getexif())
    cohort = {"path": str(root), "group_pattern": r"p(\d+)_"}
    inputs = {"image": {"modality": "XR", "size": [48, 48]}}
    experiment = parse_experiment({"cohort": cohort, "inputs": inputs, "sources": ["mini:resnet"]})
    for _ in range(2):
        found = prepared(experiment, tmp_path)
        assert found.events() == {**tally(found.cohort.events), "EXIF_ROTATED": 1}


def test_unreadable_image_is_refused_by_name_by_default(images: Path, tmp_path: Path) -> None:
    experiment = spoiled(images, tmp_path, "c1", "c4", policy="refuse")
    with pytest.raises(ImageError, match=r"c1\.png.*\(1 more\).*on_bad_image: skip"):
        prepared(experiment, tmp_path)


def test_cohort_without_any_readable_image_is_refused(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(b"")
    rows = [f"c{number},{'xy'[number % 2]},{number}.png" for number in range(6)]
    (tmp_path / "cases.csv").write_text("\n".join(["case_id,label,image", *rows]) + "\n")
    cohort = {"path": str(tmp_path / "cases.csv"), "on_bad_image": "skip"}
    experiment = parse_experiment({"cohort": cohort, "sources": ["mini:resnet"]})
    with pytest.raises(ImageError, match="None of 6 images can be read"):
        prepared(experiment, tmp_path)


def test_the_rest_of_a_cohort_with_hostile_files_is_read_and_they_are_counted(
    images: Path, tmp_path: Path, synthetic
) -> None:
    hostile = {
        "huge.png": "TOO_LARGE",
        "huge.npy": "TOO_LARGE",
        "more behind.tif": "CORRUPT",
        "pages in a circle.tif": "CORRUPT",
    }
    for name in hostile:
        BOMBS[name][1](tmp_path / name)
    whole = synthetic.write(synthetic.projection(synthetic.samples(0)), tmp_path / "cut.dcm")
    whole.write_bytes(whole.read_bytes()[:-100])
    good = sorted(images.rglob("*.png"))[::2]
    rows = [f"{path.parent.name},{path}" for path in good]
    rows[5:5] = [f"clear,{tmp_path / name}" for name in (*hostile, "cut.dcm")]
    table = tmp_path / "cases.csv"
    table.write_text("\n".join(["label,image", *rows]) + "\n")
    experiment = {
        "cohort": {"path": str(table), "on_bad_image": "skip"},
        "inputs": {"image": {"kind": "image", "modality": "XR", "size": [48, 48]}},
        "sources": ["mini:resnet"],
    }
    found = prepared(parse_experiment(experiment), tmp_path)
    assert len(found.cohort.cases) == len(good)
    counted = {code: found.events().get(code) for code in ("TOO_LARGE", "CORRUPT", "TRUNCATED")}
    assert counted == {"TOO_LARGE": 2, "CORRUPT": 2, "TRUNCATED": 1}
