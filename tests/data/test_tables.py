import csv
import json
from pathlib import Path

import pytest

from medfuse.config import CohortConfig
from medfuse.data import read_cohort, tally
from medfuse.errors import CohortError


def _table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _read(path: Path, **settings):
    return read_cohort(CohortConfig(path=str(path), **settings))


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_absolute_paths_are_named_below_their_common_parent(tmp_path, suffix):
    def ids(place):
        files = [f"{place}/{name}" for name in ("x/a.png", "y/a.png", "y/deep/a.png")]
        if suffix == ".csv":
            path = _table(tmp_path / "t.csv", "image,label", *(f"{f},k" for f in files))
        else:
            path = tmp_path / "t.json"
            path.write_text(json.dumps({"training": [{"image": f, "label": "k"} for f in files]}))
        cohort = _read(path)
        assert [case.inputs["image"] for case in cohort.cases] == files
        return [case.case_id for case in cohort.cases]

    assert ids("/data/scans") == ids("/elsewhere") == ["x/a.png", "y/a.png", "y/deep/a.png"]


@pytest.mark.parametrize(
    ("name", "header", "found"),
    [("t.csv", "image;label", ";"), ("t.csv", "image\tlabel", "t"), ("t.tsv", "image,label", ",")],
)
def test_another_separator_is_named(tmp_path, name, header, found):
    path = _table(tmp_path / name, header, header.replace("image", "1,5.png"))
    with pytest.raises(CohortError, match=rf"is separated by '\\?{found}', expected"):
        _read(path)


def test_a_table_written_by_csv_is_read_with_quotes(tmp_path):
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label"], ['a,"b".png', "x"], ["c.png", "y"]])
    assert _read(tmp_path / "t.csv").cases[0].inputs["image"].endswith('a,"b".png')


def test_the_group_column_wins(tmp_path):
    path = _table(tmp_path / "t.csv", "image,label,patient_id,exam", "1.png,a,p,e1", "2.png,b,p,e2")
    assert [case.patient_id for case in _read(path, group="exam").cases] == ["e1", "e2"]


def test_a_guessed_image_column_is_said(tmp_path, caplog):
    cohort = _read(_table(tmp_path / "t.tsv", "FileName\tlabel", "1.png\ta", "2.png\tb"))
    assert cohort.cases[0].inputs["image"] == str(tmp_path / "1.png")
    assert "column 'FileName' is taken for the image paths" in caplog.text
    assert tally(cohort.events)["COLUMN_GUESSED"] == 1


def test_two_ways_to_the_patient_are_refused(tmp_path):
    path = _table(tmp_path / "t.csv", "image,label,patient_id", "1.png,a,p", "2.png,b,q")
    with pytest.raises(CohortError, match="both say who the patient is"):
        _read(path, group="patient_id", group_pattern="(.)")
    with pytest.raises(CohortError, match="row 2: names its patient, and cohort.group_pattern"):
        _read(path, group_pattern="(.)")
    _table(path, "image,label,patient_id", "1.png,a,", "2.png,b,")
    assert [case.patient_id for case in _read(path, group_pattern="(.)").cases] == ["1", "2"]
