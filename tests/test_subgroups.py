"""Columns of the cohort as subgroups: read, cut into bands, kept in the split, refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.config import CohortConfig, EvaluationConfig
from medfuse.config.subgroups import MISSING, Subgroup, parse_subgroup
from medfuse.data import read_cohort, write_cohort
from medfuse.errors import CohortError, ConfigError

AGE, SEX = Subgroup("age", (40, 65)), Subgroup("sex")
HEADER = "image,label,patient_id,site,age,sex,name"


def table(folder: Path, *rows: str) -> CohortConfig:
    (folder / "cases.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return CohortConfig(path=str(folder / "cases.csv"))


def cohort_of(folder: Path) -> CohortConfig:
    return table(
        folder,
        "a.png,well,p1,north,39.9,F,Doe",
        "b.png,ill,p2,north,40,M,Roe",
        "c.png,well,p3,south,,,Poe",
    )


def test_a_number_falls_into_the_band_that_begins_with_it() -> None:
    assert AGE.bands == ("below 40", "40 to below 65", "65 and above")
    assert [AGE.group_of(cell) for cell in ("39.9", "40", "64", "65", "1e3", " ", "nan")] == [
        "below 40", "40 to below 65", "40 to below 65", "65 and above", "65 and above",
        MISSING, MISSING,
    ]  # fmt: skip
    assert [SEX.group_of(cell) for cell in ("F", " M ", "")] == ["F", "M", MISSING]


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=5, unique=True), st.floats(-200, 200))
def test_every_number_has_exactly_one_band(cuts: list[int], value: float) -> None:
    group = Subgroup("x", tuple(map(float, sorted(cuts))))
    place = group.bands.index(group.group_of(repr(value)))
    assert all(value >= cut for cut in group.cuts[:place])
    assert all(value < cut for cut in group.cuts[place:])


@pytest.mark.parametrize("text", ["", ":40", "age:old", "age:65:40", "age:40:40", "age:inf"])
def test_what_is_no_subgroup_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a column, or a column and ascending numbers"):
        parse_subgroup(text)
    with pytest.raises(ValueError, match="ascending numbers"):
        EvaluationConfig(subgroups=[text])


def test_a_column_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="subgroups has 'age' twice"):
        EvaluationConfig(subgroups=["age:40", "age:50"])
    assert EvaluationConfig(subgroups=["sex", "age:40:65"]).groups == (SEX, AGE)


def test_cases_keep_the_columns_that_are_asked_for_and_no_others(tmp_path: Path) -> None:
    cohort = read_cohort(cohort_of(tmp_path), groups=[AGE, SEX])
    assert [case.columns for case in cohort.cases] == [
        {"age": "39.9", "sex": "F"}, {"age": "40", "sex": "M"}, {"age": "", "sex": ""}
    ]  # fmt: skip
    assert all(case.columns == {} for case in read_cohort(cohort_of(tmp_path)).cases)


def test_the_split_file_holds_them(tmp_path: Path) -> None:
    cohort = read_cohort(cohort_of(tmp_path), groups=[AGE, SEX])
    file = tmp_path / "split.csv"
    write_cohort(cohort, file, {}, key=b"k" * 32)
    assert "Doe" not in file.read_text()
    again = read_cohort(CohortConfig(path=str(file)), groups=[SEX])
    assert [case.columns for case in again.cases] == [{"sex": "F"}, {"sex": "M"}, {"sex": ""}]
    assert [c.inputs for c in again.cases] == [c.inputs for c in cohort.cases]


def test_a_column_that_is_not_there_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"no column 'sexe'.*Did you mean"):
        read_cohort(cohort_of(tmp_path), groups=[Subgroup("sexe")])
    (tmp_path / "images" / "well").mkdir(parents=True)
    (tmp_path / "images" / "well" / "a.png").write_bytes(b"")
    with pytest.raises(CohortError, match="its cases have no columns"):
        read_cohort(CohortConfig(path=str(tmp_path / "images")), groups=[SEX])


@pytest.mark.parametrize("column", ["patient_id", "label", "case_id", "site"])
def test_what_names_patients_or_is_reported_anyway_is_no_subgroup(
    tmp_path: Path, column: str
) -> None:
    with pytest.raises(ConfigError, match=f"evaluation.subgroups: '{column}'"):
        read_cohort(cohort_of(tmp_path), groups=[Subgroup(column)])


def test_a_cell_of_bands_that_is_no_number_names_the_case_and_not_the_cell(tmp_path: Path) -> None:
    config = table(tmp_path, "a.png,well,p1,n,unknown,F,x", "b.png,ill,p2,n,4,F,x")
    with pytest.raises(CohortError, match=r"case a\.png: age is no number") as error:
        read_cohort(config, groups=[AGE])
    assert "unknown," not in str(error.value)


def test_a_column_of_many_values_is_refused(tmp_path: Path) -> None:
    rows = [f"i{n}.png,{'ab'[n % 2]},p{n},n,{n},F,name{n}" for n in range(30)]
    with pytest.raises(CohortError, match="'name' has 30 different values, expected at most 20"):
        read_cohort(table(tmp_path, *rows), groups=[Subgroup("name")])


def test_one_of_several_labels_is_no_subgroup(tmp_path: Path) -> None:
    rows = "image,effusion,edema\na.png,1,0\nb.png,0,1\n"
    (tmp_path / "cases.csv").write_text(rows)
    config = CohortConfig(path=str(tmp_path / "cases.csv"), label=["effusion", "edema"])
    with pytest.raises(ConfigError, match="evaluation.subgroups: 'edema' is the label"):
        read_cohort(config, groups=[Subgroup("edema")])
