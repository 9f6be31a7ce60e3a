"""Columns of a tabular input: what is accepted, and how it says no."""

from __future__ import annotations

import pytest
import yaml

from medfuse.config import dump_experiment, parse_experiment
from medfuse.config.columns import column_kind
from medfuse.errors import ConfigError

RESOLVED = {
    "age": {"kind": "number", "center": 54.2, "scale": 12.1},
    "sex": {"kind": "category", "levels": ["F", "M"]},
}


def _parse(columns: object, kind: str = "tabular"):
    source = {"use": "mini:a", "input": "clinic"}
    inputs = {"clinic": {"kind": kind, "columns": columns}}
    return parse_experiment({"cohort": {"path": "t.csv"}, "inputs": inputs, "sources": [source]})


@pytest.mark.parametrize("columns", [RESOLVED, {"sex": "category", "age": "number"}])
def test_columns_come_back_from_yaml_in_the_order_of_their_names(columns) -> None:
    experiment = _parse(columns)
    assert list(experiment.inputs["clinic"].columns) == ["age", "sex"]
    assert experiment.inputs["clinic"].columns == columns
    assert parse_experiment(yaml.safe_load(dump_experiment(experiment))) == experiment
    kinds = [column_kind(column) for column in experiment.inputs["clinic"].columns.values()]
    assert kinds == ["number", "category"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "kind: tabular needs columns"),
        (["age"], "expected columns by name"),
        ({"age": "numbre"}, "column 'age': found 'numbre', .*Did you mean \"number\""),
        ({"age": {"kind": "number"}}, "column 'age': found the keys kind, expected kind, center"),
        ({"age": {"kind": "number", "center": 1, "scale": 0}}, "'age': center and scale are"),
        ({"age": {"kind": "number", "center": True, "scale": 1}}, "'age': center and scale are"),
        ({"sex": {"kind": "category", "levels": [1, 2]}}, "'sex': levels is a list of texts"),
        ({"sex": {"kind": "category", "levels": ["F", "F"]}}, "'sex': levels names one twice"),
        ({1: "number"}, "column 1, expected a name"),
        ({" age": "number"}, "column ' age', expected a name"),
        ({"age": None}, "column 'age': found None"),
    ],
)
def test_columns_that_say_nothing_usable_are_refused(columns, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"inputs\.clinic.*{message}"):
        _parse(columns)


def test_only_a_table_has_columns() -> None:
    with pytest.raises(ConfigError, match="kind: tabular needs columns: .*, and only it"):
        _parse({"age": "number"}, "image")
