"""``medfuse train``: what its options do, what it prints where, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from medfuse.cli.main import run
from medfuse.cli.train import summary_lines

from .conftest import Trained, shown_by


def test_results_are_printed_one_a_line_and_nothing_else(trained: Trained) -> None:
    assert trained.shown.code == 0, trained.shown.err
    lines = [line.split(maxsplit=1) for line in trained.shown.out.splitlines()]
    assert [line[0] for line in lines] == [
        "test", "alone", "alone", "verdict", "report", "bundle"
    ]  # fmt: skip
    assert lines[4][1] == str(trained.folder / "report.html")
    assert lines[5][1] == str(trained.bundle)
    assert trained.bundle.is_dir()


def test_scores_of_single_sources_are_printed_beside_the_fused_ones(trained: Trained) -> None:
    metrics = json.loads((trained.folder / "metrics.json").read_text())
    lines = [line for line in trained.shown.out.splitlines() if line.startswith("alone")]
    assert lines == [
        f"alone    accuracy {row['accuracy']['second']:.3f}, AUROC {row['auroc']['second']:.3f}: "
        f"{row['source']}"
        for row in metrics["comparison"]["sources"]
    ]


def test_a_source_that_sees_fewer_cases_says_how_many() -> None:
    gaps = {"accuracy": {"second": 0.5}, "auroc": {"second": None}}
    row = {"source": "tabular", "cases": 7, **gaps}
    metrics = {
        "test": None,
        "comparison": {"cases": 9, "sources": [row], "verdict": "none"},
    }
    outcome = SimpleNamespace(metrics=metrics, report="r", bundle="b")
    assert summary_lines(outcome)[0] == (
        "alone    accuracy 0.500, AUROC undefined: tabular (the 7 cases that it sees)"
    )


def test_options_are_the_configuration(trained: Trained) -> None:
    content = yaml.safe_load((trained.folder / "config.yaml").read_text())
    assert [source["use"] for source in content["sources"]] == [
        "timm:test_resnet.random",
        "timm:test_convnext.random",
    ]
    assert content["fusion"]["use"] == "concat"
    assert (content["head"]["use"], content["head"]["hidden"]) == ("mlp", 8)
    assert content["inputs"]["image"]["modality"] == "XR"
    assert content["cohort"]["group_pattern"] == r"p(\d+)_"
    assert content["training"]["epochs"] == 2


def test_bars_name_members_and_sources_on_stderr(trained: Trained) -> None:
    assert "member 2/2, epoch 2/2" in trained.shown.err
    assert "timm:test_resnet.random alone, member 1/2" in trained.shown.err


def test_json_is_all_there_is_on_stdout(trained: Trained) -> None:
    shown = shown_by(*trained.command, "--json")
    assert shown.code == 0
    assert json.loads(shown.out) == json.loads((trained.folder / "metrics.json").read_text())


def test_finished_run_is_said_to_be_complete(trained: Trained) -> None:
    before = (trained.folder / "report.html").stat().st_mtime_ns
    shown = shown_by(*trained.command)
    assert "this run is complete; use --fresh" in shown.err
    assert shown.out == trained.shown.out
    assert (trained.folder / "report.html").stat().st_mtime_ns == before


@pytest.mark.slow
def test_fresh_trains_again_and_quiet_shows_nothing(trained: Trained, tmp_path: Path) -> None:
    changes = ["--set", "evaluation={bootstrap: 0, baselines: false}"]
    command = (*trained.command[:-1], tmp_path / "run", *changes)
    assert run([str(part) for part in command]) == 0
    before = (tmp_path / "run" / "report.html").stat().st_mtime_ns
    shown = shown_by(*command, "--fresh", "--quiet")
    assert (shown.code, shown.err) == (0, "")
    assert (tmp_path / "run" / "report.html").stat().st_mtime_ns > before


@pytest.mark.slow
def test_folder_of_another_configuration_is_refused(trained: Trained) -> None:
    shown = shown_by(*trained.command, "--set", "seed=1")
    assert (shown.code, shown.out) == (1, "")
    assert "holds a run of another configuration" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no source is named. Add --source, for example --source mini:resnet"),
        (["--source", "{use: mini:resnet"], "--source {use: mini:resnet: not a valid YAML mapping"),
        (["--source", "mini:resnt"], 'Did you mean "resnet"?'),
        (["--source", "mini:resnet", "--fusion", "atention"], 'Did you mean "attention"?'),
        (["--source", "mini:resnet", "--head", "{use: mlp, hiden: 3}"], 'mean "hidden"?'),
        (["--source", "mini:resnet", "--set", "training.epoch=3"], 'Did you mean "epochs"?'),
        (["--source", "mini:resnet", "--set", "training.epochs"], "expected key=value"),
        (["--source", "mini:resnet", "--set", "fusion.heads=3"], "not a multiple of heads 3"),
    ],
)
def test_mistake_is_one_line_and_exit_1_and_leaves_nothing(
    arguments: list[str], message: str, trained: Trained, tmp_path: Path
) -> None:
    shown = shown_by("train", trained.images, *arguments, "--out", tmp_path / "run")
    assert (shown.code, shown.out) == (1, "")
    assert shown.err.startswith("medfuse: error: ")
    assert len(shown.err.splitlines()) == 1
    assert message in shown.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--source", "--fusion", "--head", "--group-pattern"])
def test_option_beside_a_configuration_is_refused(option: str, tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("{cohort: {path: images}, sources: [mini:resnet]}")
    shown = shown_by("train", file, option, "x", "--out", tmp_path / "run")
    assert shown.code == 1
    assert f"{option} is for training on images without a configuration" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modality", "US"], "argument --modality: invalid choice: 'US'"),
        (["--epochs", "3"], "unrecognized arguments: --epochs 3"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    shown = shown_by("train", "images", "--out", tmp_path / "run", *arguments)
    assert (shown.code, shown.out) == (2, "")
    assert message in shown.err
