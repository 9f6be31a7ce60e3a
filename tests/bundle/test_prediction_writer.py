from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine

from medfuse.bundle.prediction_writer import PredictionWriter


def write(tmp_path: Path, names: list[str], values: list[list[float]], **options) -> Path:
    images = [SimpleNamespace(meta={"filename_or_obj": name}) for name in names]

    def step(engine: Engine, batch: object) -> list[dict[str, torch.Tensor]]:
        return [{"pred": torch.tensor(row)} for row in values]

    engine = Engine(step)
    writer = PredictionWriter(str(tmp_path / "out"), "/data", ["no", "a,b"], **options)
    writer.attach(engine)
    engine.run([[{"image": image} for image in images]], max_epochs=1)
    return tmp_path / "out"


def test_table_has_names_relative_to_the_dataset(tmp_path: Path, read_table) -> None:
    out = write(tmp_path, ["/data/x/1.png", "/elsewhere/2.png"], [[0.25, 0.75], [0.5, 0.5]])
    assert (out / "predictions.csv").read_text().startswith('image,predicted,prob_no,"prob_a,b"\n')
    rows = read_table(out / "predictions.csv")
    assert [(r["image"], r["predicted"]) for r in rows] == [("x/1.png", "a,b"), ("2.png", "no")]
    assert float(rows[0]["prob_a,b"]) == 0.75
    assert json.loads((out / "predictions.json").read_text())[0]["probabilities"]["no"] == 0.25


def test_no_name_of_an_image_is_run_by_a_spreadsheet(tmp_path: Path, read_table) -> None:
    names = ["=1+1.png", "-1.png", "'1.png", "\uff1d1.png", "1.png"]
    out = write(tmp_path, [f"/data/{name}" for name in names], [[0.5, 0.5]] * 5)
    found = [row["image"] for row in read_table(out / "predictions.csv")]
    assert found == ["'=1+1.png", "'-1.png", "''1.png", "'\uff1d1.png", "1.png"]
    told = json.loads((out / "predictions.json").read_text())
    assert [row["image"] for row in told] == names


def test_independent_classes_are_joined(tmp_path: Path, read_table) -> None:
    out = write(tmp_path, ["/data/1", "/data/2"], [[0.5, 0.9], [0.1, 0.2]], exclusive=False)
    assert [r["predicted"] for r in read_table(out / "predictions.csv")] == ["no;a,b", ""]


def test_a_second_run_replaces_the_rows_of_the_first(tmp_path: Path, read_table) -> None:
    write(tmp_path, ["/data/1"], [[0.5, 0.5]])
    out = write(tmp_path, ["/data/2"], [[0.5, 0.5]])
    assert [r["image"] for r in read_table(out / "predictions.csv")] == ["2"]
    assert sorted(p.name for p in out.iterdir()) == ["predictions.csv", "predictions.json"]


def test_other_numbers_of_outputs_than_classes_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 outputs for 2 classes"):
        write(tmp_path, ["/data/1"], [[0.1, 0.2, 0.7]])
    assert not (tmp_path / "out").exists()


def test_a_policy_judges_every_case_by_the_features_of_its_batch(
    tmp_path: Path, read_table
) -> None:
    def from_features(chances, features, present) -> list[SimpleNamespace]:
        assert present.tolist() == [[True], [True]]
        far = [float(row.sum()) for row in features]
        return [
            SimpleNamespace(
                status="abstained" if d > 1 else "ok",
                reason_code="OUT_OF_DISTRIBUTION" if d > 1 else "",
                reason="",
                conformal_set=("a,b", "no"),
                distances={"one": d},
            )
            for d in far
        ]

    inferer = SimpleNamespace(
        features=torch.tensor([[0.25, 0.25], [1.0, 1.5]]), present=torch.ones(2, 1) > 0
    )
    policy = SimpleNamespace(from_features=from_features)
    out = write(
        tmp_path, ["/data/1", "/data/2"], [[0.25, 0.75]] * 2, abstention=policy, inferer=inferer
    )
    near, far = read_table(out / "predictions.csv")
    assert (near["status"], near["predicted"], near["distance"]) == ("ok", "a,b", "0.5")
    assert (far["status"], far["predicted"], far["distance"]) == ("abstained", "", "2.5")
    assert far["reason_code"] == "OUT_OF_DISTRIBUTION"
    assert far["set"] == "a,b;no"
    assert float(far["prob_a,b"]) == 0.75, "what the model thinks stays visible"
    assert json.loads((out / "predictions.json").read_text())[1]["distances"] == {"one": 2.5}
