"""``predictions.csv`` is safe in a spreadsheet and loses nothing."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.errors import EvaluationError
from medfuse.evaluation import PredictionRow, read_predictions, write_predictions

CLASSES = ("healthy", "ill")


def test_columns_are_as_documented(tmp_path: Path) -> None:
    rows = [
        PredictionRow(
            case_id="c1", role="test", label="ill", predicted="ill",
            probabilities=(0.25, 0.75), shares={"resnet": 0.6, "vit": 0.4},
        ),
        PredictionRow(case_id="c2", role="test", status="refused", reason_code="TRUNCATED"),
    ]  # fmt: skip
    write_predictions(tmp_path / "p.csv", rows, CLASSES)
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "case_id,role,label,status,reason_code,predicted,prob_healthy,prob_ill,share_resnet,share_vit",
        "c1,test,ill,ok,,ill,0.25,0.75,0.6,0.4",
        "c2,test,,refused,TRUNCATED,,,,,",
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])  # noqa: RUF001
def test_no_cell_begins_like_a_formula(tmp_path: Path, start: str) -> None:
    name = start + 'HYPERLINK("http://evil")'
    write_predictions(
        tmp_path / "p.csv", [PredictionRow(case_id=name, label=name, predicted=name)], CLASSES
    )
    with (tmp_path / "p.csv").open(newline="") as stream:
        cells = list(csv.reader(stream))[1]
    assert not any(cell.startswith(start) for cell in cells)
    assert read_predictions(tmp_path / "p.csv")[0][0].case_id == name


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@given(TEXT, TEXT, st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_every_row_is_read_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, case_id: str, label: str, p: float, share: float
) -> None:
    path = tmp_path_factory.mktemp("table") / "p.csv"
    row = PredictionRow(case_id=case_id, label=label, probabilities=(p, 1 - p), shares={"s": share})
    write_predictions(path, [row], CLASSES)
    (back,), classes = read_predictions(path)
    assert (back.case_id, back.label, classes) == (case_id, label, CLASSES)
    assert np.float32(back.probabilities[0]) == np.float32(p)
    assert np.float32(back.shares["s"]) == np.float32(share)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", [], CLASSES)
    assert stat.S_IMODE((tmp_path / "p.csv").stat().st_mode) == 0o600


def test_a_wrong_number_of_probabilities_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="row 2 has 3 probabilities, expected 2"):
        write_predictions(
            tmp_path / "p.csv", [PredictionRow(case_id="a", probabilities=(1, 0, 0))], CLASSES
        )
    assert not list(tmp_path.iterdir())


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a,b\n1,2\n")
    with pytest.raises(EvaluationError, match="found columns a, b, expected them to begin"):
        read_predictions(tmp_path / "p.csv")
