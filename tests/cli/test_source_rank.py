from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from medfuse.cli.main import run
from medfuse.config import load_experiment
from medfuse.workflows.phantoms import write_phantoms

from .conftest import Shown, shown_by

SOURCES = ["mini:resnet", "{use: timm:test_resnet.random, input_size: [48, 48]}"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("rank") / "my images", patients_per_class=6)


@pytest.fixture(scope="module")
def options(images: Path) -> list[object]:
    changes = ["inputs.image.size=[48,48]", f"bank.path={images.parent / 'bank'}"]
    return [
        images,
        "--group-pattern",
        r"p(\d+)_",
        *(word for source in SOURCES for word in ("--source", source)),
        *(word for change in changes for word in ("--set", change)),
    ]


@pytest.fixture(scope="module")
def ranked(options: list[object]) -> Shown:
    return shown_by("sources", "rank", *options)


def test_table_shows_every_source_with_place_and_measures(ranked: Shown) -> None:
    assert ranked.code == 0
    header, first, second, *_ = ranked.out.splitlines()
    assert header.split("  ")[0] == "PLACE"
    for title in ("PROBE AUROC", "NEIGHBORS", "H-SCORE", "LOGME", "MOST LIKE"):
        assert title in header
    assert first.startswith("1")
    assert "mini:resnet" in first
    assert second.startswith("2")
    assert "timm:test_resnet.random" in second


def test_cases_that_decided_are_named(ranked: Shown) -> None:
    assert "30 cases that a run learns from, none of its test part; 15 share" in ranked.out


@pytest.mark.slow
def test_last_line_is_the_command_that_trains_with_the_suggested(
    ranked: Shown, images: Path, tmp_path: Path
) -> None:
    command = ranked.out.splitlines()[-1].strip()
    words = shlex.split(command)
    assert words[:3] == ["medfuse", "train", str(images)]
    assert words[-2:] == ["--out", "RUN"]
    quick = ["training.epochs=1", "training.members=1", "evaluation.bootstrap=0"]
    changes = [word for change in quick for word in ("--set", change)]
    assert run([*words[1:-1], str(tmp_path / "run"), *changes]) == 0


@pytest.mark.slow
def test_json_holds_all_numbers_and_the_command(options: list[object], ranked: Shown) -> None:
    shown = shown_by("sources", "rank", *options, "--json", "--quiet")
    data = json.loads(shown.out)
    assert shown.err == ""
    assert [row["place"] for row in data["sources"]] == [1, 2]
    assert data["next"] == ranked.out.splitlines()[-1].strip()


@pytest.mark.slow
def test_table_is_written_where_it_is_asked_for(options: list[object], tmp_path: Path) -> None:
    assert shown_by("sources", "rank", *options, "--out", tmp_path / "r.csv").code == 0
    assert (tmp_path / "r.csv").read_text().startswith("place,place_low,place_high,source,")


@pytest.mark.slow
def test_command_for_a_configuration_sets_its_sources(images: Path, tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(
        f"cohort: {{path: '{images}', group_pattern: 'p(\\d+)_'}}\n"
        "inputs: {image: {size: [48, 48]}}\n"
        "sources: [{use: timm:test_resnet.random}, {use: mini:resnet, train: all}]\n"
        f"bank: {{path: '{images.parent / 'bank'}'}}\n"
    )
    arguments = [file, "--source", "mini:densenet", "--set", "seed=3"]
    shown = shown_by("sources", "rank", *arguments)
    assert shown.code == 0, shown.err
    assert "mini:densenet" in shown.out
    words = shlex.split(shown.out.splitlines()[-1])
    changes = [word for before, word in pairwise(words) if before == "--set"]
    assert changes[0] == "seed=3"
    suggested = {source.use: source.train for source in load_experiment(file, changes).sources}
    assert set(suggested) <= {"timm:test_resnet.random", "mini:resnet", "mini:densenet"}
    assert suggested.get("mini:resnet", "all") == "all"  # ranked frozen, trained as configured


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["images"], r"images: no source is named. Add --source once for each candidate"),
        (["x.yaml", "--modality", "CT"], r"x.yaml: --modality is for images without a config"),
        (["images", "--source", "{use:"], r"--source {use:: not a valid YAML mapping"),
    ],
)
def test_what_cannot_be_ranked_is_refused(arguments: list[str], text: str) -> None:
    shown = shown_by("sources", "rank", *arguments)
    assert shown.code == 1
    assert text in shown.err


def test_program_without_torch_shows_the_help() -> None:
    shown = shown_by("sources", "rank", "--help")
    assert shown.code == 0
    assert "--all-local" in shown.out
