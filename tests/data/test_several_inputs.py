"""Cohorts whose cases have several inputs, some of them missing, some of them columns."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfuse.config import CohortConfig, InputConfig, SplitConfig
from medfuse.data import (
    Case,
    Cohort,
    assign_roles,
    read_cohort,
    read_split,
    resolve_leaks,
    tally,
    write_cohort,
)
from medfuse.errors import CohortError, ConfigError

KEY = b"k" * 32
IMAGE = InputConfig()
CLINIC = InputConfig(kind="tabular", columns={"age": "number", "sex": "category"})
INPUTS = {"ct": IMAGE, "xray": IMAGE, "clinic": CLINIC}
HEADER = ("case_id", "label", "patient_id", "ct", "xray", "age", "sex")
ROWS = [
    ("c1", "sick", "p1", "ct/1.nii", "x/1.png", "54", "F"),
    ("c2", "well", "p2", "", "x/2.png", "", "M"),
    ("c3", "sick", "p3", "ct/3.nii", "", "", ""),
    ("c4", "well", "p4", "", "", "61.5", ""),
]
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


def _write(path: Path, header, rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([header, *rows])
    return path


def _read(path: Path, inputs=INPUTS, **options) -> Cohort:
    return read_cohort(CohortConfig(path=str(path), **options), inputs)


def _items(rows) -> list[dict[str, object]]:
    """Return rows as items of a data list: numbers as numbers, blank cells absent or null."""
    items = []
    for row in rows:
        item: dict[str, object] = {k: v for k, v in zip(HEADER, row, strict=True) if v}
        if "age" in item:
            item["age"] = json.loads(str(item["age"]))
        items.append({**item, "ct": item.get("ct")})
    return items


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.json"])
def test_a_missing_input_is_absent(tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".json":
        path.write_text(json.dumps({"training": _items(ROWS)}))
    else:
        _write(path, HEADER, ROWS)
    cohort = _read(path)
    assert [dict(case.inputs) for case in cohort.cases] == [
        {
            "ct": f"{tmp_path}/ct/1.nii",
            "xray": f"{tmp_path}/x/1.png",
            "clinic": '{"age": "54", "sex": "F"}',
        },
        {"xray": f"{tmp_path}/x/2.png", "clinic": '{"sex": "M"}'},
        {"ct": f"{tmp_path}/ct/3.nii"},
        {"clinic": '{"age": "61.5"}'},
    ]
    assert [(case.case_id, case.label, case.patient_id) for case in cohort.cases] == [
        ("c1", 0, "p1"),
        ("c2", 1, "p2"),
        ("c3", 0, "p3"),
        ("c4", 1, "p4"),
    ]


def test_a_case_without_any_input_is_refused_with_its_row_or_skipped(tmp_path):
    blank = ("c5", "sick", "p5", "", "", " ", "")
    path = _write(tmp_path / "t.csv", HEADER, [*ROWS, blank, ("c6", *blank[1:])])
    with pytest.raises(
        CohortError, match=r"row 6: has no input: age, ct, sex, xray are blank"
    ) as e:
        _read(path)
    assert "(1 more rows)" in str(e.value)
    assert "on_bad_image: skip. [NO_INPUT]" in str(e.value)
    assert "p5" not in str(e.value)
    cohort = _read(path, on_bad_image="skip")
    assert [case.case_id for case in cohort.cases] == ["c1", "c2", "c3", "c4"]
    assert tally(cohort.events) == {"NO_INPUT": 2}


def test_a_cohort_of_blank_rows_is_refused_under_any_policy(tmp_path):
    path = _write(tmp_path / "t.csv", HEADER, [("c", "sick", "p", "", "", "", "")])
    with pytest.raises(CohortError, match="row 2: has no input"):
        _read(path, on_bad_image="skip")


@pytest.mark.parametrize("name", ["t.csv", "t.json"])
def test_a_cell_that_is_no_number_is_refused_by_row_and_column_alone(tmp_path, name):
    rows = [*ROWS, ("c5", "sick", "p5", "ct/5.nii", "", "Smith", "F")]
    path = tmp_path / name
    if name == "t.csv":
        _write(path, HEADER, rows)
    else:
        items = _items(ROWS)
        path.write_text(json.dumps({"training": [*items, {**items[0], "age": "Smith"}]}))
    where = {"t.csv": "row 6", "t.json": r"training\[4\]"}[name]
    with pytest.raises(CohortError, match=rf"{where}: column 'age' .*\[BAD_NUMBER\]") as caught:
        _read(path)
    assert "Smith" not in str(caught.value)
    cohort = _read(path, on_bad_image="skip")
    assert len(cohort.cases) == 4
    assert tally(cohort.events) == {"BAD_NUMBER": 1}
    assert not any("Smith" in str(event) for event in cohort.events)


def _sample(seed: int, missing: float, count: int = 60) -> list[tuple[str, ...]]:
    """Return rows of which each input is missing with a probability, never all."""
    draw = random.Random(seed)
    rows: list[tuple[str, ...]] = []
    while len(rows) < count:
        n = len(rows)
        full = (f"ct/{n}.nii", f"x/{n}.png", f"{draw.uniform(0, 90):.1f}", draw.choice("FM"))
        ct, xray, clinic = (draw.random() >= missing for _ in range(3))
        cells = tuple(
            text if has else "" for text, has in zip(full, (ct, xray, clinic, clinic), strict=True)
        )
        if any(cells):
            rows.append((f"c{n}", "sick" if n % 3 else "well", f"p{n // 2}", *cells))
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_a_third_of_the_inputs_may_be_missing(tmp_path, seed):
    rows = _sample(seed, 1 / 3)
    cohort = _read(_write(tmp_path / "t.csv", HEADER, rows))
    present = [sum(name in case.inputs for case in cohort.cases) for name in INPUTS]
    assert all(30 <= count <= 55 for count in present), present
    split = assign_roles(cohort, SplitConfig())
    assert all(split.part(role) for role in ("train", "validation", "test"))
    write_cohort(split, tmp_path / "cohort.csv", {}, key=KEY)
    again = _read(tmp_path / "cohort.csv")
    assert [(c.case_id, c.inputs, c.role) for c in again.cases] == [
        (c.case_id, c.inputs, c.role) for c in split.cases
    ]


@given(order=st.permutations(range(1, len(HEADER))), names=st.permutations(sorted(INPUTS)))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_columns_and_inputs_does_not_matter(tmp_path, order, names):
    rows = ROWS[:3]
    expected = _read(_write(tmp_path / "t.csv", HEADER[1:], [row[1:] for row in rows]))
    turned = [[row[i] for i in order] for row in (HEADER, *rows)]
    found = _read(_write(tmp_path / "t.csv", turned[0], turned[1:]), {n: INPUTS[n] for n in names})
    assert found.cases == expected.cases


@st.composite
def _cohorts(draw) -> Cohort:
    root = Path("/data/set")
    files = st.from_regex(r"[a-z{][a-z }%,\"']{0,8}\.png", fullmatch=True)
    row = st.dictionaries(
        st.sampled_from(["age", "sex", "stage, T"]), TEXTS.map(str.strip).filter(bool), min_size=1
    )
    kinds = {
        "ct": files.map(lambda name: str(root / name)),
        "xray": files.map(lambda name: f"/elsewhere/{name}::k::3"),
        "clinic": row.map(lambda cells: json.dumps(cells, sort_keys=True, ensure_ascii=False)),
    }
    given = st.fixed_dictionaries({}, optional=kinds).filter(bool)
    count = draw(st.integers(1, 6))
    cases = [
        Case(f"c{n}", draw(given), draw(st.sampled_from([0, 1, None])), f"p{n}", role="train")
        for n in range(count)
    ]
    return Cohort(tuple(cases), ("a", "b"), root, given_roles=draw(st.booleans()))


@pytest.mark.slow
@given(_cohorts())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_written_cohort_reads_back_and_writes_the_same_again(tmp_path, cohort):
    digests = {
        case.case_id: {n: f"{case.case_id}-{n}" for n in case.inputs if n != "clinic"}
        for case in cohort.cases
    }
    write_cohort(cohort, tmp_path / "1.csv", {"seed": 1}, digests, KEY)
    back, header = read_split(tmp_path / "1.csv")
    assert [(c.case_id, c.inputs, c.label, c.role) for c in back.cases] == [
        (c.case_id, c.inputs, c.label, c.role) for c in cohort.cases
    ]
    names = {name for case in cohort.cases for name in case.inputs}
    assert header["version"] == (1 if len(names) == 1 and "clinic" not in names else 2)
    write_cohort(back, tmp_path / "2.csv", {"seed": 1}, digests, KEY)
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()


def test_a_split_of_one_image_is_written_as_ever(tmp_path):
    cases = (Case("c1", {"image": "/x/1.png"}, 0, "p1", role="train"),)
    cohort = Cohort(cases, ("a", "b"), Path("/x"))
    write_cohort(cohort, tmp_path / "1.csv", {}, {"c1": "ab"}, KEY)
    write_cohort(cohort, tmp_path / "2.csv", {}, {"c1": {"image": "ab"}}, KEY)
    text = (tmp_path / "1.csv").read_text()
    assert text == (tmp_path / "2.csv").read_text()
    columns = "case_id,patient_id,site,label,role,repeat,fold,pixel_digest,image"
    assert text.splitlines()[1] == columns
    assert text.splitlines()[2].endswith(",a,train,0,,ab,1.png")


def test_each_image_has_its_digest_in_the_split(tmp_path):
    cohort = _read(_write(tmp_path / "t.csv", HEADER, ROWS))
    write_cohort(cohort, tmp_path / "s.csv", {}, {"c1": {"ct": "ab", "xray": "cd"}}, KEY)
    first, *table = (tmp_path / "s.csv").read_text().splitlines()
    assert json.loads(first[2:])["inputs"] == {"clinic": "cells", "ct": "file", "xray": "file"}
    row = next(csv.DictReader(table))
    assert (row["pixel_digest:ct"], row["pixel_digest:xray"]) == ("ab", "cd")
    assert json.loads(row["clinic"]) == {"age": "54", "sex": "F"}


def test_a_leak_in_the_second_input_is_found_on_loading(tmp_path):
    cases = tuple(
        Case(f"c{n}", {"ct": f"{n}.nii", "xray": f"{n}.png"}, 0, f"p{n}", role=role)
        for n, role in enumerate(("train", "test"))
    )
    digests = {f"c{n}": {"ct": f"ct{n}", "xray": "same"} for n in range(2)}
    write_cohort(Cohort(cases, ("a", "b"), tmp_path), tmp_path / "s.csv", {}, digests, KEY)
    with pytest.raises(CohortError, match=r"s\.csv: the cohort leaks: 1 x identical images"):
        read_split(tmp_path / "s.csv")


@pytest.mark.parametrize("second", ["ct", "xray"])
def test_one_shared_image_in_any_input_is_a_leak_once(second):
    cases = (
        Case("c1", {"ct": "1.nii", "xray": "1.png"}, 0, "p1", role="train"),
        Case("c2", {"ct": "2.nii", "xray": "2.png"}, 0, "p2", role="test"),
        Case("c3", {"clinic": '{"age": "1"}'}, 0, "p3", role="train"),
    )
    cohort = Cohort(cases, ("a", "b"), Path("x"))
    digests = {"c1": {"ct": "same", "xray": "x1"}, "c2": {"ct": "c2", "xray": "x2"}}
    digests["c2"][second] = "same"
    clean, report = resolve_leaks(cohort, digests, "drop_from_training")
    assert [case.case_id for case in clean.cases] == ["c2", "c3"]
    assert report.summary() == {"found": {"pixels": 1}, "dropped": 1, "duplicate_groups": 1}
    both = {case: {"ct": "same", "xray": "other"} for case in ("c1", "c2")}
    assert resolve_leaks(cohort, both, "drop_from_training")[1].duplicates == 1


def test_one_case_may_show_one_image_twice_and_equal_cells_are_no_leak():
    cells = '{"age": "54"}'
    cases = (
        Case("c1", {"ct": "1.nii", "xray": "1.png", "clinic": cells}, 0, "p1", role="train"),
        Case("c2", {"clinic": cells}, 1, "p2", role="test"),
    )
    cohort = Cohort(cases, ("a", "b"), Path("x"))
    digests = {"c1": {"ct": "same", "xray": "same", "clinic": "v"}, "c2": {"clinic": "v"}}
    assert resolve_leaks(cohort, digests)[1].duplicates == 0
    assert resolve_leaks(cohort, {"c1": "v", "c2": "v"})[1].duplicates == 0


def test_cases_that_share_an_image_of_any_input_stay_on_one_side():
    cases = tuple(
        Case(f"c{n:02}", {"ct": f"{n}.nii", "xray": f"{n}.png"}, n % 2, f"p{n}") for n in range(40)
    )
    digests = {f"c{n:02}": {"ct": f"ct{n}", "xray": f"x{n // 4}-{n % 2}"} for n in range(40)}
    split = assign_roles(Cohort(cases, ("a", "b"), Path("x")), SplitConfig(), digests)
    resolve_leaks(split, digests, "refuse")
    assert {case.role for case in split.cases} == {"train", "validation", "test"}


def test_cases_are_named_after_the_first_image_that_they_have(tmp_path):
    rows = [row[1:] for row in ROWS]
    path = _write(tmp_path / "t.csv", HEADER[1:], rows[:3])
    assert [c.case_id for c in _read(path).cases] == ["ct/1.nii", "x/2.png", "ct/3.nii"]
    _write(path, HEADER[1:], rows)
    with pytest.raises(CohortError, match="row 5: has neither a file nor a case_id"):
        _read(path)


def test_a_cohort_may_be_columns_alone(tmp_path):
    path = _write(tmp_path / "t.csv", ("case_id", "label", "age", "sex"), [("c", "x", "1", "F")])
    assert _read(path, {"clinic": CLINIC}).cases[0].inputs == {"clinic": '{"age": "1", "sex": "F"}'}


@pytest.mark.parametrize("kind", ["folder", "m.npz"])
def test_folders_and_archives_have_one_image_per_case(tmp_path, kind):
    path = tmp_path / kind
    if kind == "folder":
        for name in ("a/1.png", "b/2.png"):
            (path / name).parent.mkdir(parents=True)
            (path / name).touch()
    else:
        np.savez(path, train_images=np.zeros((2, 4, 4)), train_labels=np.arange(2))
    for inputs in (INPUTS, {"clinic": CLINIC}):
        with pytest.raises(CohortError, match=r"holds one image per case, but inputs has clinic"):
            _read(path, inputs)
    assert set(_read(path, {"scan": IMAGE}).cases[0].inputs) == {"scan"}
    assert set(_read(path, "scan").cases[0].inputs) == {"scan"}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (("label", "ct", "xray", "age"), r"no column 'sex'.* Change inputs\.clinic\.columns to"),
        (("label", "ct", "xrays", "age", "sex"), "no column 'xray'.*Did you mean \"xrays\""),
        (("label", "ct", "path", "age", "sex"), "no column 'xray'"),
    ],
)
def test_a_column_that_an_input_needs_is_named(tmp_path, header, message):
    path = _write(tmp_path / "t.csv", header, [header])
    with pytest.raises(CohortError, match=message):
        _read(path)


def test_the_only_image_beside_columns_is_guessed(tmp_path, caplog):
    path = _write(tmp_path / "t.csv", ("label", "path", "age", "sex"), [("x", "1.png", "", "")])
    cohort = _read(path, {"scan": IMAGE, "clinic": CLINIC})
    assert cohort.cases[0].inputs == {"scan": f"{tmp_path}/1.png"}
    assert "column 'path' is taken for the image paths" in caplog.text


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"xray": "x.png", "sex": "F", "agee": 3}, "no item has the key 'age'.*\"agee\""),
        ({"xray": 3}, r"training\[1\]: xray is a int, expected the path"),
        ({"age": [3]}, r"training\[1\], age: found a list, expected a number"),
        ("x.png", r"training\[1\]: found str, expected an object with the keys clinic, xray"),
    ],
)
def test_a_bad_item_is_refused(tmp_path, item, message):
    content = {"training": [{"xray": "1.png", "label": "a", "sex": "F"}, item]}
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(CohortError, match=message):
        _read(tmp_path / "d.json", {"xray": IMAGE, "clinic": CLINIC})


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        ({"case_id": IMAGE}, {}),
        ({"label": IMAGE}, {}),
        ({"pixel_digest:x": IMAGE}, {}),
        ({"diagnosis": IMAGE}, {"label": "diagnosis"}),
        ({"c": InputConfig(kind="tabular", columns={"label": "category"})}, {}),
        ({"c": InputConfig(kind="tabular", columns={"patient_id": "category"})}, {}),
        ({"c": InputConfig(kind="tabular", columns={"mrn": "number"})}, {"group": "mrn"}),
        ({"c": InputConfig(kind="tabular", columns={"dx": "category"})}, {"label": "dx"}),
        ({"c": InputConfig(kind="tabular", columns={"ct": "category"}), "ct": IMAGE}, {}),
    ],
)
def test_what_is_to_be_found_cannot_be_read_as_an_input(tmp_path, inputs, options):
    path = _write(tmp_path / "t.csv", ("label", "ct"), [("a", "1.png")])
    with pytest.raises(ConfigError, match=r"inputs\.\S+: "):
        _read(path, inputs, **options)


def _split(tmp_path: Path) -> Path:
    cohort = _read(_write(tmp_path / "t.csv", HEADER, ROWS))
    write_cohort(cohort, tmp_path / "cohort.csv", {}, key=KEY)
    return tmp_path / "cohort.csv"


def test_a_split_gives_the_inputs_and_columns_that_are_asked_for(tmp_path):
    path = _split(tmp_path)
    ages = InputConfig(kind="tabular", columns={"age": "number"})
    cohort = _read(path, {"ct": IMAGE, "clinic": ages}, on_bad_image="skip")
    assert [dict(case.inputs) for case in cohort.cases] == [
        {"ct": f"{tmp_path}/ct/1.nii", "clinic": '{"age": "54"}'},
        {"ct": f"{tmp_path}/ct/3.nii"},
        {"clinic": '{"age": "61.5"}'},
    ]
    assert tally(cohort.events) == {"NO_INPUT": 1}
    with pytest.raises(CohortError, match="case c2: has no input: age, ct are blank"):
        _read(path, {"ct": IMAGE, "clinic": ages})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({**INPUTS, "mr": IMAGE}, "has the inputs clinic, ct, xray, expected also mr"),
        ({"clinic": IMAGE}, "input 'clinic' holds cells, expected files for kind: auto"),
        ({"ct": CLINIC}, "input 'ct' holds files, expected cells for kind: tabular"),
        (
            {"clinic": InputConfig(kind="tabular", columns={"sex": "number"})},
            "case c1: column 'sex' holds no number",
        ),
    ],
)
def test_a_split_of_other_inputs_is_refused(tmp_path, inputs, message):
    with pytest.raises(CohortError, match=message):
        _read(_split(tmp_path), inputs, on_bad_image="refuse")


def test_a_bare_name_takes_a_split_as_it_is(tmp_path):
    assert len(read_cohort(CohortConfig(path=str(_split(tmp_path)))).cases[0].inputs) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, _: h.pop("inputs") and None, "its header has no usable inputs"),
        (lambda h, _: h.update(inputs={"ct": ["file"]}), "its header has no usable inputs"),
        (lambda h, _: h.update(inputs={"mr": "file"}), "has no column 'pixel_digest:mr'"),
        (lambda _, b: b.replace('""54""', "54"), "row 3: input 'clinic': found no row"),
    ],
)
def test_a_damaged_split_of_several_inputs_is_refused(tmp_path, change, message):
    path = _split(tmp_path)
    first, _, body = path.read_text().partition("\n")
    header = json.loads(first.removeprefix("# "))
    body = change(header, body) or body
    header["table_digest"] = hashlib.sha256(body.encode()).hexdigest()
    path.write_text(f"# {json.dumps(header)}\n{body}")
    with pytest.raises(CohortError, match=rf"cohort\.csv.*{message}"):
        _read(path)
