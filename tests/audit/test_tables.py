"""Tables of a cohort count each file once and where it belongs."""

from __future__ import annotations

import json
from pathlib import Path

from medfuse.audit import Refusal, Scan, Seen, breakdowns, class_name
from medfuse.audit.look import look
from medfuse.data import Case, Cohort
from tests.audit.conftest import picture, volume_file
from tests.data.dicom import synthetic


def case(number: int, label: int | None = 0, inputs: tuple[str, ...] = ("image",), **more) -> Case:
    return Case(f"c{number}", dict.fromkeys(inputs, "f"), label, f"p{number}", **more)


def test_only_what_divides_has_a_table(save) -> None:
    seen = look(save("a.png", picture(0)))
    cohort = Cohort((case(0), case(1, 1)), ("a", "b"), Path("x"))
    tables = breakdowns(cohort, Scan(tuple(Seen(c, "image", seen) for c in cohort.cases), ()))
    assert list(tables) == ["class"]
    assert [row.name for row in tables["class"]] == ["a", "b", "all"]


def test_modalities_have_a_table_with_their_sizes_and_spacings(tmp_path: Path, save) -> None:
    ct, mr = (
        look(str(synthetic.write(make(0), tmp_path / f"{name}.dcm")))
        for name, make in {"ct": synthetic.ct_slice, "mr": synthetic.mr_slice}.items()
    )
    unnamed = look(save("a.png", picture(0, 70)))
    cases = tuple(case(number) for number in range(5))
    seen = [Seen(c, "image", found) for c, found in zip(cases, (ct, mr, mr, unnamed), strict=False)]
    scan = Scan(tuple(seen), (Refusal("c4", "image", "TRUNCATED"),))
    rows = {row.name: row for row in breakdowns(Cohort(cases, ("a",), Path("x")), scan)["modality"]}
    assert list(rows) == ["CT", "MR", "unknown"]
    assert [(row.cases, row.refused) for row in rows.values()] == [(1, 0), (2, 0), (1, 1)]
    assert rows["CT"].shapes["median"] == ct.shape
    assert rows["MR"].spacing["median"] == tuple(round(value, 4) for value in mr.spacing)
    assert rows["unknown"].shapes["median"] == (70, 70)
    assert rows["unknown"].spacing == {}


def test_inputs_count_the_cases_that_have_them(tmp_path: Path, save) -> None:
    image, volume = look(save("a.png", picture(0))), look(volume_file(tmp_path / "v.nii.gz"))
    cases = (case(0, inputs=("ct", "xray")), case(1, inputs=("xray",)), case(2, inputs=("ct",)))
    seen = (Seen(cases[0], "ct", volume), Seen(cases[0], "xray", image),
            Seen(cases[1], "xray", image))  # fmt: skip
    scan = Scan(seen, (Refusal("c2", "ct", "CORRUPT"),))
    rows = {row.name: row for row in breakdowns(Cohort(cases, ("a",), Path("x")), scan)["input"]}
    assert {name: (row.cases, row.refused) for name, row in rows.items()} == {
        "ct": (2, 1), "ct: a": (2, 1), "xray": (2, 0), "xray: a": (2, 0),
    }  # fmt: skip
    assert rows["ct"].counts["kind"] == {"NIFTI": 1}
    assert rows["xray"].counts["kind"] == {"PNG": 2}
    (whole,) = breakdowns(Cohort(cases, ("a",), Path("x")), scan)["class"][-1:]
    assert (whole.shapes, whole.spacing, whole.intensity) == ({}, {}, ()), "never mixed"


def test_patients_are_counted_only_where_they_are_named(save) -> None:
    seen = look(save("a.png", picture(0)))
    named = (case(0), Case("c1", {"image": "f"}, 0, "p0"))
    alone = tuple(Case(f"c{i}", {"image": "f"}, 0, f"c{i}") for i in range(2))
    for cases, count in ((named, 1), (alone, None)):
        scan = Scan(tuple(Seen(c, "image", seen) for c in cases), ())
        assert breakdowns(Cohort(cases, ("a",), Path("x")), scan)["class"][-1].patients == count


def test_a_case_without_a_label_is_of_an_unknown_class() -> None:
    cohort = Cohort((case(0, None), case(1)), ("a",), Path("x"))
    assert [class_name(cohort, one) for one in cohort.cases] == ["unknown", "a"]
    rows = breakdowns(cohort, Scan((), ()))["class"]
    assert [(row.name, row.cases, row.intensity) for row in rows] == [
        ("a", 1, ()), ("unknown", 1, ()), ("all", 2, ()),
    ]  # fmt: skip
    json.dumps([row.counts for row in rows])
