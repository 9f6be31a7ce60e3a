"""A run's configuration says what was done, and does it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from medfuse.config import Experiment, SourceConfig, load_experiment, parse_experiment
from medfuse.features.bank import FeatureBank
from medfuse.registry import load_registry
from medfuse.workflows.extract import load_networks, with_tables
from medfuse.workflows.prepare import PreparedCohort, prepare_cohort
from medfuse.workflows.resolved import (
    _batch_size,
    _source,
    _stopping,
    input_facts,
    resolved_experiment,
)
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import experiment_with_table, small_experiment, table_of


def scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from scalars(item)
    elif isinstance(value, list):
        for item in value:
            yield from scalars(item)
    else:
        yield value


def content_of(run: TrainingOutcome) -> dict[str, Any]:
    return yaml.safe_load((run.folder / "config.yaml").read_text())


def test_nothing_is_left_open(
    finished_run: TrainingOutcome, run_with_table: TrainingOutcome
) -> None:
    for run in (finished_run, run_with_table):
        assert "auto" not in set(scalars(content_of(run)))
        assert (
            load_experiment(run.folder / "config.yaml").digest()
            == (run.metrics["configuration_digest"])
        )


def test_inputs_options_and_columns_are_written_out(run_with_table: TrainingOutcome) -> None:
    content = content_of(run_with_table)
    image, clinic = content["inputs"]["image"], content["inputs"]["clinic"]
    assert (image["kind"], image["intensity"], image["fit"]) == ("image", "range", "stretch")
    assert set(clinic) == {"kind", "columns"}
    assert set(clinic["columns"]["age"]) == {"kind", "center", "scale"}
    assert clinic["columns"]["sex"]["levels"] == ["F", "M"]
    assert content["fusion"] == {
        "use": "attention", "heads": 4, "width": 32, "sharpness": 0.25, "dropout": 0.5
    }  # fmt: skip
    assert content["head"]["hidden"] == 256
    assert content["sources"][0]["options"] == {"model": "test_resnet"}
    assert content["training"]["device"] != "auto"
    assert content["training"]["loss"] == "cross_entropy"


@pytest.mark.slow
def test_training_again_from_it_gives_the_same_metrics(
    run_with_table: TrainingOutcome, tmp_path: Path
) -> None:
    again = train(run_with_table.folder / "config.yaml", tmp_path / "again", progress=False)
    assert again.metrics == run_with_table.metrics
    assert content_of(again) == content_of(run_with_table)
    first = (run_with_table.folder / "predictions.csv").read_bytes()
    assert (again.folder / "predictions.csv").read_bytes() == first


def test_it_means_the_same_run_in_the_same_folder(finished_run: TrainingOutcome) -> None:
    before = finished_run.report.stat().st_mtime_ns
    again = train(finished_run.folder / "config.yaml", finished_run.folder, progress=False)
    assert again.metrics == finished_run.metrics
    assert finished_run.report.stat().st_mtime_ns == before


def resolved(asked: Experiment, prepared: PreparedCohort) -> Experiment:
    registry = load_registry()
    configs = {name: read.config for name, read in prepared.inputs.items()}
    sources = with_tables(asked, load_networks(asked, registry, configs), prepared)
    return resolved_experiment(asked, registry, prepared, sources)


def test_it_stays_as_it_is_when_resolved_again(images: Path, tmp_path: Path) -> None:
    bank = FeatureBank(tmp_path / "bank")
    table = table_of(images, tmp_path / "cases.csv")
    asked = parse_experiment(experiment_with_table(table))
    once = resolved(asked, prepare_cohort(asked, bank, progress=False))
    twice = resolved(once, prepare_cohort(once, bank, progress=False))
    assert once == twice
    assert once != asked


@pytest.mark.parametrize(
    ("training", "train", "size"),
    [
        ({}, "frozen", 48),
        ({"members": 1}, "frozen", 50),
        ({"members": 1}, "all", 32),
        ({"batch_size": 7}, "frozen", 7),
    ],
)
def test_batches_are_a_tenth_of_what_one_member_learns_from(
    training: dict[str, int], train: str, size: int
) -> None:
    roles = ["train"] * 500 + ["validation"] * 100 + ["test"] * 90
    cohort = SimpleNamespace(cases=[SimpleNamespace(role=role) for role in roles])
    source = {"use": "mini:resnet", "train": train}
    asked = parse_experiment({"cohort": {"path": "x"}, "sources": [source], "training": training})
    assert _batch_size(asked, SimpleNamespace(cohort=cohort)) == size


@pytest.mark.parametrize(
    ("training", "train", "settled"),
    [
        ({}, "frozen", (0.0, 7, 1e-3)),
        ({"ema_decay": 0.9}, "frozen", (0.9, 7, 1e-3)),
        ({"members": 1}, "frozen", (0.5, 5, 5e-3)),
        ({"members": 1, "ema_decay": 0.0}, "frozen", (0.0, 7, 1e-3)),
        ({}, "all", (0.0, 10, 1e-3)),
        ({"ema_decay": 0.5}, "all", (0.5, 10, 1e-3)),
        ({"early_stopping": {"patience": 3}}, "all", (0.0, 3, 1e-3)),
        ({"early_stopping": {"min_delta": 0.1}}, "all", (0.0, 10, 0.1)),
        ({"early_stopping": None}, "frozen", (0.0,)),
    ],
)
def test_when_to_stop_is_settled_by_how_many_networks_learn_and_whether_a_source_does(
    training: dict[str, Any], train: str, settled: tuple[float, ...]
) -> None:
    source = {"use": "mini:resnet", "train": train}
    asked = parse_experiment({"cohort": {"path": "x"}, "sources": [source], "training": training})
    found = _stopping(asked)
    stopping = found["early_stopping"]
    numbers = () if stopping is None else (stopping.patience, stopping.min_delta)
    assert (found["ema_decay"], *numbers) == settled


def test_recipes_of_several_modalities_stay_open(images: Path, tmp_path: Path) -> None:
    rows = ["a,b,label", *(f"{f},{f},{f.parent.name}" for f in sorted(images.rglob("*.png")))]
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    inputs = {"a": {"modality": "CT"}, "b": {"modality": "MR"}}
    sources = [{"use": "timm:test_resnet.random", "input": name} for name in inputs]
    cohort = {"path": str(tmp_path / "cases.csv")}
    asked = parse_experiment({"cohort": cohort, "inputs": inputs, "sources": sources})
    prepared = prepare_cohort(asked, FeatureBank(tmp_path / "bank"), progress=False)
    assert resolved(asked, prepared).augmentation.recipe == "auto"


def test_metrics_hold_what_was_seen_but_no_level_of_a_column(
    run_with_table: TrainingOutcome, images: Path
) -> None:
    inputs = run_with_table.metrics["inputs"]
    assert inputs["image"]["settings"]["size"] == [48, 48]
    assert inputs["image"]["fingerprint"]["bits"] == 8
    assert inputs["clinic"]["settings"]["columns"]["sex"] == {"kind": "category", "levels": 2}
    assert inputs["clinic"]["fingerprint"]["rows"] > 20
    text = json.dumps(inputs)
    assert str(images) not in text
    assert '"F"' not in text


def test_page_shows_the_settings_of_each_input(run_with_table: TrainingOutcome) -> None:
    page = run_with_table.report.read_text()
    for row in ("input image", "seen of image", "input clinic", "seen of clinic"):
        assert row in page
    assert "kind image, modality other, channels 1, size 48 x 48, fit stretch" in page
    assert "columns (age: (kind: number; center: " in page
    assert "images 50, bits 8" in page


def test_facts_of_an_input_are_plain_data(images: Path, tmp_path: Path) -> None:
    asked = parse_experiment(small_experiment(images))
    facts = input_facts(prepare_cohort(asked, FeatureBank(tmp_path / "bank"), progress=False))
    assert json.loads(json.dumps(facts)) == facts


def test_what_a_plain_name_stood_for_is_written_out() -> None:
    config = SourceConfig(use="vgg16@own.safetensors")
    found = _source(config, load_registry(), SimpleNamespace(levels=1))
    assert found.use == "timm:vgg16@own.safetensors"
    weighted = _source(SourceConfig(use="vgg16"), load_registry(), SimpleNamespace(levels=1))
    assert weighted.use == "timm:vgg16.tv_in1k"
    assert weighted.options == {"model": "vgg16"}
