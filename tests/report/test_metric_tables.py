"""Tables say what the metrics say, undefined ones included."""

from __future__ import annotations

import numpy as np
import pytest

from medfuse.evaluation import EvaluationSettings, Predictions, compare, evaluate
from medfuse.report import (
    class_table,
    comparison_table,
    group_table,
    operating_point_table,
    overall_table,
    worst_errors,
)
from medfuse.report.metric_tables import estimate_text, metric_name

SETTINGS = EvaluationSettings(bootstrap=40, minimum_cases=10)


@pytest.fixture
def predictions() -> Predictions:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    chance = np.clip(0.25 + 0.5 * labels + 0.25 * rng.normal(size=60), 0.01, 0.99)
    sites = ["north"] * 55 + ["south"] * 5
    return Predictions(
        labels, np.c_[1 - chance, chance], ["healthy", "ill"], groups={"site": sites}
    )


def test_all_tables_are_rectangular(predictions: Predictions) -> None:
    metrics = evaluate(predictions, SETTINGS)
    comparison = compare(predictions, {"A": predictions}, SETTINGS)
    tables = [
        overall_table(metrics),
        class_table(metrics),
        operating_point_table(metrics),
        group_table(metrics, "site"),
        comparison_table(comparison),
    ]
    for table in tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.header)}
        assert all(isinstance(cell, str) for row in table.rows for cell in row)


def test_the_overall_table_names_cases_and_patients(predictions: Predictions) -> None:
    table = overall_table(evaluate(predictions, SETTINGS))
    assert "60 cases of 60 patients" in table.caption
    assert table.header[1] == "value [95 % interval]"


def test_the_class_table_names_the_positive_class(predictions: Predictions) -> None:
    assert "positive class is ill" in class_table(evaluate(predictions, SETTINGS)).caption


def test_a_small_group_shows_its_count_and_why_it_is_not_measured(predictions) -> None:
    rows = group_table(evaluate(predictions, SETTINGS), "site").rows
    assert rows[1][:4] == ["south", "5", "5", "5 cases, at least 10 needed"]


def test_patterns_of_inputs_are_measured_and_called_so() -> None:
    labels = np.arange(40) % 2
    chances = np.where(labels[:, None] == [0, 1], 0.7, 0.3)
    inputs = ["ct + age"] * 12 + ["ct"] * 28
    given = Predictions(labels, chances, ["healthy", "ill"], groups={"inputs": inputs})
    table = group_table(evaluate(given, EvaluationSettings(bootstrap=20)), "inputs")
    assert [(row[0], row[1], row[3][:5]) for row in table.rows] == [
        ("ct", "28", "1.000"),
        ("ct + age", "12", "1.000"),
    ]
    assert table.caption.startswith("By the inputs that a case has")


def test_an_undefined_metric_is_called_so_with_its_reason(predictions: Predictions) -> None:
    metrics = evaluate(predictions.only(predictions.labels == 1), SETTINGS)
    rows = {row[0]: row[1:] for row in overall_table(metrics).rows}
    assert rows["AUROC, macro"] == ["undefined", "no case of class 'healthy'"]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"value": 0.91234, "low": 0.9, "high": 0.95}, "0.912 [0.900,\u00a00.950]"),
        ({"value": 0.5, "low": None, "high": None}, "0.500"),
        ({"value": None, "low": None, "high": None}, "undefined"),
    ],
)
def test_estimates_as_text(entry: dict, text: str) -> None:
    assert estimate_text(entry) == text


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("auroc_macro", "AUROC, macro"),
        ("log_loss", "log loss"),
        ("sensitivity_at_specificity_0.95", "sensitivity at specificity 0.95"),
    ],
)
def test_metric_names_are_words(key: str, name: str) -> None:
    assert metric_name(key) == name


def test_worst_errors_are_wrong_and_fall_in_confidence(predictions: Predictions) -> None:
    ids = [f"case{i}" for i in range(60)]
    errors = worst_errors(predictions, ids, count=4, thumbnails={"case0": "data:x"})
    assert errors
    assert all(error.label != error.predicted for error in errors)
    chances = [error.probability for error in errors]
    assert chances == sorted(chances, reverse=True)
    wrong = predictions.predicted != predictions.labels
    assert chances[0] == predictions.probabilities[wrong].max()


def test_the_comparison_says_how_many_cases_a_source_can_see(predictions: Predictions) -> None:
    seen = np.arange(60) < 40
    singles = {"A": predictions, "B": predictions, "C": predictions}
    none = np.zeros(60, dtype=bool)
    table = comparison_table(compare(predictions, singles, SETTINGS, {"A": seen, "C": none}))
    assert table.header[1] == "cases it can see"
    assert [row[1] for row in table.rows] == ["40 of 60", "60 of 60", "0 of 60"]
    assert {len(row) for row in table.rows} == {len(table.header)}
    whole = comparison_table(compare(predictions, singles, SETTINGS))
    assert "cases it can see" not in whole.header
