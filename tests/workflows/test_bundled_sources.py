"""Two-stage transfer: what one run learned is what the next run starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medfuse.bundle.seen import OWN_TRAINING, read_seen
from medfuse.bundle.verify import verify_bundle
from medfuse.workflows.rank import rank_sources
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment


@pytest.fixture(scope="module")
def first(images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingOutcome:
    """A run whose first source learns and whose second stays as it is."""
    experiment = small_experiment(
        images,
        name="first",
        sources=[
            {"use": "timm:test_resnet.random", "train": "last:1"},
            {"use": "timm:test_convnext.random"},
        ],
        evaluation={"bootstrap": 20, "baselines": False},
    )
    return train(experiment, tmp_path_factory.mktemp("runs") / "first", progress=False)


@pytest.fixture(scope="module")
def second(
    first: TrainingOutcome, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainingOutcome:
    """A run on both networks of the first."""
    experiment = small_experiment(
        images,
        name="second",
        sources=[{"use": f"bundle:{first.folder}"}],
        evaluation={"bootstrap": 20, "baselines": False},
    )
    return train(experiment, tmp_path_factory.mktemp("runs") / "second", progress=False)


def _medfuse(run: TrainingOutcome) -> dict[str, Any]:
    return json.loads((run.bundle / "configs" / "metadata.json").read_text())["medfuse"]


def _network(run: TrainingOutcome, number: int) -> dict[str, torch.Tensor]:
    state = torch.load(run.bundle / "models" / "model.pt", weights_only=True)
    own = {
        k.rpartition("net.")[2]: v for k, v in state.items() if k.startswith(f"sources.{number}.b")
    }
    assert own
    return own


@pytest.mark.slow
def test_both_networks_of_a_run_are_the_sources_of_the_next(first, second) -> None:
    assert list(second.metrics["features"]["sources"]) == [
        "timm:test_resnet@first_classification",
        "timm:test_convnext@first_classification",
    ]
    for number in (0, 1):
        before, after = _network(first, number), _network(second, number)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.slow
def test_the_bundle_of_the_second_run_rebuilds_without_medfuse(second) -> None:
    report = verify_bundle(second.bundle)
    assert report.ok, [check for check in report.checks if check.status == "failed"]


@pytest.mark.slow
def test_the_second_bundle_says_where_its_weights_come_from(first, second) -> None:
    one, two = _medfuse(second)["sources"]
    split = _medfuse(first)["split_digest"]
    assert one["earlier"]["bundle"] == "first"
    assert one["earlier"]["split_digest"] == split
    assert (one["earlier"]["trained"], two["earlier"]["trained"]) == (True, False)
    assert one["training_data"] == [f"first (split {split[:12]})"]
    card = (second.bundle / "docs" / "README.md").read_text()
    assert "taken out of bundle first, trained there from timm:test_resnet.random" in card


@pytest.mark.slow
def test_test_cases_that_the_first_run_learned_from_are_flagged(first, second) -> None:
    learned = read_seen(first.bundle)[OWN_TRAINING]
    assert read_seen(second.bundle)["timm:test_resnet@first_classification"] == learned
    # The same split, so that none of its test images were seen.
    assert second.metrics["test"]["seen"]["cases"] == 0


@pytest.mark.slow
def test_a_third_run_learns_on_from_the_second(first, second, images, tmp_path) -> None:
    experiment = small_experiment(
        images,
        name="third",
        cohort={"path": str(images), "group_pattern": r"p(\d+)_", "split": {"seed": 5}},
        sources=[{"use": f"bundle:{second.bundle}#1", "train": "all", "lr_scale": 1.0}],
        bundle={"graphs": False},
        evaluation={"bootstrap": 20, "baselines": False},
    )
    third = train(experiment, tmp_path / "third", progress=False)
    [record] = _medfuse(third)["sources"]
    assert record["earlier"]["bundle"] == "second"
    assert record["earlier"]["earlier"]["bundle"] == "first"
    before, after = _network(second, 0), _network(third, 0)
    assert not all(torch.equal(before[key], after[key]) for key in before)
    assert third.metrics["test"]["seen"]["by"], "another split tests images that were learned from"


@pytest.mark.slow
def test_the_networks_of_a_run_are_ranked_like_others(first, images, tmp_path) -> None:
    experiment = small_experiment(
        images,
        sources=["timm:test_resnet.random", f"bundle:{first.folder}"],
        bank={"path": str(tmp_path)},
    )
    ranking = rank_sources(experiment)
    assert {row.source for row in ranking.sources} == {
        "timm:test_resnet.random",
        "timm:test_resnet@first_classification",
        "timm:test_convnext@first_classification",
    }
