"""A row of a table: fitted on training cases, the same vector in training and in a bundle."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle.config_parser import ConfigParser

from medfuse.config import InputConfig
from medfuse.data import tally
from medfuse.data.cells import cells_reference, holds_cells, number_in, read_cells
from medfuse.data.image_facts import ImageFileError
from medfuse.errors import ConfigError, ImageError
from medfuse.preprocessing import Preprocessing, resolve_input, resolve_tabular, tabular_slots
from medfuse.preprocessing.nodes import instantiate
from medfuse.preprocessing.tabular import TabularVectord
from medfuse.preprocessing.tabular_row import tabular_vector, tabular_width
from medfuse.registry.vendoring import copy_vendored

COLUMNS = {
    "age": {"kind": "number", "center": 50.0, "scale": 10.0},
    "sex": {"kind": "category", "levels": ["F", "M"]},
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def _input(**columns) -> InputConfig:
    return InputConfig(kind="tabular", columns=columns)


def _rows(column, *texts) -> list[str]:
    return [cells_reference({column: text, "always": "1"}) for text in texts]


@pytest.mark.parametrize(
    ("cells", "vector"),
    [
        ({"age": "65", "sex": "M"}, [1.5, 0, 0, 1, 0]),
        ({"age": "50"}, [0, 0, 0, 0, 1]),
        ({"sex": "F"}, [0, 1, 1, 0, 0]),
        ({"age": " 1e3 ", "sex": "D"}, [5, 0, 0, 0, 1]),
        ({"age": "-1000"}, [-5, 0, 0, 0, 1]),
    ],
)
def test_a_row_becomes_a_vector(cells, vector) -> None:
    found, _ = tabular_vector(cells, COLUMNS)
    assert found.dtype == np.float32
    assert found.tolist() == vector
    assert len(found) == tabular_width(COLUMNS) == len(tabular_slots(COLUMNS))


def test_every_slot_has_a_name() -> None:
    assert tabular_slots(COLUMNS) == ("age", "age missing", "sex = F", "sex = M", "sex other")


def test_what_is_cut_or_unknown_is_said_without_the_value() -> None:
    image = Preprocessing(_input(**COLUMNS)).load(cells_reference({"age": "540", "sex": "Xy"}))
    assert tally(image.events) == {"NUMBER_CUT": 1, "UNKNOWN_LEVEL": 1}
    assert not any("540" in str(event) or "Xy" in str(event) for event in image.events)


@given(st.dictionaries(TEXTS, TEXTS))
def test_cells_come_back_from_their_reference(cells) -> None:
    reference = cells_reference(cells)
    filled = {name: text.strip() for name, text in cells.items() if text.strip()}
    assert (read_cells(reference) if reference else {}) == filled
    assert holds_cells(reference) == bool(filled)
    assert cells_reference(dict(reversed(cells.items()))) == reference


@given(st.lists(st.floats(-1e20, 1e20) | st.just(7.0), min_size=1, max_size=30))
def test_fitted_numbers_are_centered_and_within_bounds(values) -> None:
    references = _rows("x", *map(repr, values))
    resolved, _ = resolve_tabular(_input(x="number"), references)
    preprocessing = Preprocessing(resolved)
    vectors = np.stack([preprocessing.load(reference).pixels for reference in references])
    assert np.isfinite(vectors).all()
    assert np.abs(vectors).max() <= 5
    assert (vectors[:, 1] == 0).all()
    assert (vectors[:, 0] <= 1e-2).mean() >= 0.5


def test_one_typing_error_moves_nobody_else() -> None:
    ages = [str(age) for age in range(40, 80)]
    clean, _ = resolve_tabular(_input(age="number"), _rows("age", *ages))
    typed, _ = resolve_tabular(_input(age="number"), _rows("age", *ages, "5400"))
    vectors = [
        Preprocessing(found).load(cells_reference({"age": "75"})).pixels[0]
        for found in (clean, typed)
    ]
    assert abs(vectors[0] - vectors[1]) < 0.1
    assert clean.columns["age"]["center"] == 59.5


def test_a_column_that_is_mostly_one_number_is_scaled_by_its_deviation() -> None:
    found, _ = resolve_tabular(_input(x="number"), _rows("x", *["0"] * 9, "1"))
    assert found.columns["x"] == {"kind": "number", "center": 0.0, "scale": 0.3}


def test_levels_of_one_row_are_no_levels_and_are_never_named(caplog) -> None:
    found, fingerprint = resolve_input(
        _input(sex="category"), _rows("sex", "M", "F", "M", "F", "Smith^John")
    )
    assert found.columns == {"sex": {"kind": "category", "levels": ["F", "M"]}}
    assert [code for code, *_ in fingerprint["events"]] == ["RARE_LEVELS"]
    assert "has 1 values in one row each" in caplog.text
    assert "Smith" not in caplog.text + json.dumps(fingerprint)


@pytest.mark.parametrize(
    ("texts", "kind", "code"),
    [
        (["7", "7"], "number", "COLUMN_OF_ONE_VALUE"),
        (["F", "F", ""], "category", "COLUMN_OF_ONE_VALUE"),
        (["", ""], "number", "COLUMN_EMPTY"),
        (["", ""], "category", "COLUMN_EMPTY"),
    ],
)
def test_a_column_that_says_nothing_is_said(texts, kind, code, caplog) -> None:
    resolved, fingerprint = resolve_tabular(_input(x=kind), _rows("x", *texts))
    assert [(c, column) for c, column, _ in fingerprint["events"]] == [(code, "x")]
    assert "column 'x'" in caplog.text
    assert fingerprint["missing"] == {"x": texts.count("")}
    assert np.isfinite(Preprocessing(resolved).load(_rows("x", texts[0])[0]).pixels).all()


def test_resolved_columns_stay_beside_new_ones() -> None:
    found, _ = resolve_tabular(_input(age=COLUMNS["age"], x="number"), _rows("x", "1", "3"))
    assert found.columns["age"] == COLUMNS["age"]
    assert found.columns["x"]["center"] == 2.0
    assert resolve_tabular(found, _rows("x", "9", "9"))[0] == found


@pytest.mark.parametrize("text", ["Smith", "54,2", "nan", "inf", "1_0", "1e99", "0x1"])
def test_what_is_no_number_is_refused_without_repeating_it(text) -> None:
    assert number_in(text) is None
    calls = [
        lambda row: resolve_tabular(_input(x="number"), [row]),
        Preprocessing(_input(x={"kind": "number", "center": 0, "scale": 1})).load,
    ]
    for call in calls:
        with pytest.raises(ImageError, match=r"column 'x'.*\[BAD_NUMBER\]") as caught:
            call(cells_reference({"x": text}))
        assert caught.value.code == "BAD_NUMBER"
        assert text not in str(caught.value)


@pytest.mark.parametrize("row", ["Smith.png", "[1]", '{"x": 1}', "{", "[" * 100_000])
def test_what_is_no_row_is_refused_without_repeating_it(row) -> None:
    preprocessing = Preprocessing(_input(x={"kind": "number", "center": 0, "scale": 1}))
    for call in (preprocessing.load, lambda r: resolve_tabular(_input(x="number"), [r])):
        with pytest.raises(ImageError, match=r"\[NOT_A_ROW\]") as caught:
            call(row)
        assert caught.value.code == "NOT_A_ROW"
        assert "Smith" not in str(caught.value)


def test_without_rows_there_is_nothing_to_resolve() -> None:
    with pytest.raises(ImageError, match="NO_ROW"):
        resolve_tabular(_input(x="number"), [])


def test_names_are_no_category() -> None:
    names = [f"name{i // 2}" for i in range(200)]
    with pytest.raises(ConfigError, match="column 'who' has 100 levels, expected at most 64"):
        resolve_tabular(_input(who="category"), _rows("who", *names))


def test_a_level_that_monai_runs_is_refused_without_telling_it() -> None:
    with pytest.raises(ConfigError, match="column 'who' has a level that MONAI would run") as error:
        resolve_tabular(_input(who="category"), _rows("who", *["$exit()", "b"] * 2))
    assert "exit" not in str(error.value)


def test_unresolved_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected resolved ones"):
        Preprocessing(_input(age="number"))
    with pytest.raises(ValueError, match="column 'age' has no center and scale"):
        tabular_width({"age": "number"})


def test_the_node_takes_text_and_plain_data_to_the_same_vector() -> None:
    preprocessing = Preprocessing(_input(**COLUMNS))
    (transform,) = instantiate(preprocessing.monai_config())
    expected = preprocessing.load(cells_reference({"age": "65", "sex": "M"})).pixels
    for row in ('{"age": "65", "sex": "M"}', {"sex": "M", "age": 65}, {"age": 65.0, "sex": "M "}):
        assert transform({"image": row})["image"].numpy().tolist() == expected.tolist()
    with pytest.raises(ImageFileError, match="NOT_A_ROW"):
        transform({"image": {"age": [65]}})


def test_the_order_of_columns_does_not_matter() -> None:
    turned = dict(reversed(COLUMNS.items()))
    one, two = Preprocessing(_input(**COLUMNS)), Preprocessing(_input(**turned))
    assert one.digest() == two.digest()
    row = {"age": "61", "sex": "M"}
    assert tabular_vector(row, COLUMNS)[0].tolist() == tabular_vector(row, turned)[0].tolist()
    assert TabularVectord("x", turned)({"x": row})["x"].tolist() == pytest.approx([1.1, 0, 0, 1, 0])


@pytest.mark.parametrize("level", ["$1/0", "@nodes", "%nodes", "@::0", "x@::y"])
def test_no_level_and_no_column_is_run_by_monai(level) -> None:
    columns = {
        "_target_": {"kind": "category", "levels": [level]},
        level: {"kind": "number", "center": 0, "scale": 1},
    }
    preprocessing = Preprocessing(_input(**columns))
    (transform,) = instantiate(preprocessing.monai_config())
    assert transform.columns == _input(**columns).columns
    parser = ConfigParser({"nodes": preprocessing.monai_config()})
    assert parser.get("nodes")[0]["columns"] == preprocessing.monai_config()[0]["columns"]


def test_equal_rows_have_equal_digests_and_others_do_not() -> None:
    load = Preprocessing(_input(**COLUMNS)).load
    one, same, other = (load(cells_reference({"age": age})) for age in ("50", "50.0", "51"))
    assert one.digest == same.digest != other.digest


def test_the_node_runs_from_copied_files_alone(tmp_path) -> None:
    preprocessing = Preprocessing(_input(**COLUMNS))
    copy_vendored(preprocessing.vendored_modules, tmp_path / "scripts")
    node = tmp_path / "node.json"
    node.write_text(json.dumps(preprocessing.monai_config()))
    program = (
        "import json, sys; sys.modules['medfuse'] = None\n"
        "from monai.bundle.config_parser import ConfigParser\n"
        "nodes = json.load(open('node.json'))\n"
        "(t,) = ConfigParser({'nodes': nodes}).get_parsed_content('nodes')\n"
        "print(t({'image': {'age': 65, 'sex': 'M'}})['image'].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1.5, 0, 0, 1, 0]


def test_a_row_that_is_refused_is_not_repeated() -> None:
    preprocessing = Preprocessing(_input(age=COLUMNS["age"]))
    row = cells_reference({"age": "Smith"})
    with pytest.raises(ImageError) as caught:
        preprocessing.load(row)
    assert caught.value.code == "BAD_NUMBER"
    assert "Smith" not in str(caught.value)
