"""A comparison of tiny networks on generated images: answer, files, resumption, refusals."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medfuse
from medfuse.config import parse_experiment
from medfuse.errors import CohortError, ConfigError, OutputError, SourceError
from medfuse.registry import load_registry
from medfuse.workflows import compare_curve, compare_fits
from medfuse.workflows.compare import ComparisonOutcome, compare
from medfuse.workflows.compare_curve import default_sizes, draws_at
from medfuse.workflows.compare_folder import claim_compare_folder
from medfuse.workflows.compare_plan import fusions_to_compare
from medfuse.workflows.compare_settings import CompareSettings

from .conftest import experiment_with_table, small_experiment, table_of

SOURCES = ["mini:resnet", "timm:test_resnet.random"]
QUICK = {
    "folds": 3,
    "fusions": ("concat", "average"),
    "members": 1,
    "workers": 1,
    "progress": False,
}


def _experiment(images: Path, bank: Path, **changes: Any) -> dict[str, Any]:
    plain = {"augmentation": {"views": 0}, "training": {"epochs": 3}, "fusion": "concat"}
    plain |= {"sources": SOURCES, "bank": {"path": str(bank)}}
    return small_experiment(images, **{**plain, **changes})


@pytest.fixture(scope="module")
def outcome(
    images: Path, shared_bank: Path, tmp_path_factory: pytest.TempPathFactory
) -> ComparisonOutcome:
    out = tmp_path_factory.mktemp("compare") / "found"
    return compare(_experiment(images, shared_bank), out, CompareSettings(**QUICK))


def test_every_candidate_is_scored_on_the_cases_outside_the_test_part(
    outcome: ComparisonOutcome,
) -> None:
    found = outcome.comparison
    names = [c["name"] for c in found["candidates"]]
    assert names[:4] == [*SOURCES, "concat", "average"]
    assert {"chosen single", "chosen fusion", "k-NN, all sources"} <= set(names)
    assert (found["cases"], found["left_aside"], found["folds"]) == (48, 12, 3)
    assert outcome.verdict.startswith(("fusing ", "no evidence that fusing "))
    assert found["fused"] == "concat"


def test_trained_source_is_better_than_an_untrained_one(outcome: ComparisonOutcome) -> None:
    area = {c["name"]: c["auroc"]["value"] for c in outcome.comparison["candidates"]}
    assert area["logistic regression, mini:resnet"] > 0.7
    assert outcome.comparison["best_single"] == "mini:resnet"


def test_predictions_give_the_reported_scores(outcome: ComparisonOutcome) -> None:
    with (outcome.folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for found in outcome.comparison["candidates"]:
        own = [row for row in rows if row["candidate"] == found["name"]]
        right = np.mean([row["label"] == row["predicted"] for row in own])
        assert right == pytest.approx(found["accuracy"]["value"])
    assert oct((outcome.folder / "predictions.csv").stat().st_mode)[-3:] == "600"


def test_folder_holds_tables_in_three_formats_plots_and_a_page(outcome: ComparisonOutcome) -> None:
    tables = {file.name for file in (outcome.folder / "tables").iterdir()}
    stems = ("candidates", "fusing", "choosing", "baselines")
    assert {f"{stem}.{end}" for stem in stems for end in ("csv", "md", "tex")} == tables
    assert r"\toprule" in (outcome.folder / "tables" / "fusing.tex").read_text()
    assert (outcome.folder / "plots" / "differences.png").stat().st_size > 5000
    html = outcome.report.read_text()
    assert "Does fusing help?" in html
    assert outcome.comparison["remarks"][-1].split(",")[0] in html
    written = json.loads((outcome.folder / "comparison.json").read_text())
    assert written == outcome.comparison


@pytest.mark.slow
def test_second_run_trains_nothing_and_more_candidates_train_alone(
    outcome: ComparisonOutcome, images: Path, shared_bank: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    trained: list[Any] = []
    real = compare_fits.fit_candidate
    monkeypatch.setattr(compare_fits, "fit_candidate", lambda *a: trained.append(a[1]) or real(*a))
    experiment = _experiment(images, shared_bank)
    again = compare(experiment, outcome.folder, CompareSettings(**QUICK))
    assert trained == []
    assert again.comparison == outcome.comparison
    more = {**QUICK, "fusions": ("concat", "average", "gated")}
    compare(experiment, outcome.folder, CompareSettings(**more))
    assert [fit.fusion.use for fit in trained] == ["gated"] * 3
    assert "replaced" not in caplog.text
    with caplog.at_level("INFO", "medfuse"):
        compare(experiment, outcome.folder, CompareSettings(**QUICK))  # as the others expect it
    assert "replaced the earlier results here: now without gated" in caplog.text


@pytest.mark.slow
def test_interrupted_comparison_goes_on_with_the_fit_it_was_at(
    images: Path, shared_bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    outcome: ComparisonOutcome,
) -> None:  # fmt: skip
    experiment, real, done = _experiment(images, shared_bank), compare_fits.fit_candidate, []

    def dies(*arguments: Any) -> Any:
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(1)
        return real(*arguments)

    monkeypatch.setattr(compare_fits, "fit_candidate", dies)
    with pytest.raises(KeyboardInterrupt):
        compare(experiment, tmp_path / "out", CompareSettings(**QUICK))
    files = sorted((tmp_path / "out" / "fits").glob("*.npz"))
    assert len(files) == 5
    files[0].write_bytes(files[0].read_bytes()[:100])  # what a broken disk leaves is trained again
    counted: list[int] = []
    monkeypatch.setattr(compare_fits, "fit_candidate", lambda *a: counted.append(1) or real(*a))
    found = compare(experiment, tmp_path / "out", CompareSettings(**QUICK))
    total = 3 * (3 + 6)  # the average is of the networks of the sources
    assert len(counted) == total - 4
    assert found.comparison == outcome.comparison


@pytest.mark.slow
def test_processes_side_by_side_change_nothing(
    outcome: ComparisonOutcome, images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    settings = CompareSettings(**{**QUICK, "workers": 2, "baselines": False})
    found = compare(_experiment(images, shared_bank), tmp_path / "out", settings)
    for mine in found.comparison["candidates"]:
        theirs = next(c for c in outcome.comparison["candidates"] if c["name"] == mine["name"])
        assert mine == theirs


@pytest.mark.slow
def test_folds_of_the_cohort_are_taken_with_all_cases(
    images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    experiment = _experiment(images, shared_bank)
    experiment["cohort"]["split"] = {"folds": 4, "fold": 1}
    settings = CompareSettings(**{**QUICK, "baselines": False})
    found = compare(experiment, tmp_path / "out", settings).comparison
    assert (found["cases"], found["left_aside"], found["folds"]) == (60, 0, 4)


def test_auto_leaves_out_what_is_trained_six_times_unless_the_configuration_names_it(
    images: Path, shared_bank: Path
) -> None:
    def names(fusion: str, *asked: str) -> list[str]:
        experiment = parse_experiment(_experiment(images, shared_bank, fusion=fusion))
        return [f.use for f in fusions_to_compare(experiment, load_registry(), asked)]

    auto, everything = names("gated", "auto"), names("gated", "all")
    assert auto[0] == everything[0] == "gated"
    assert set(everything) - set(auto) == {"stacking", "weighted_average"}
    assert names("stacking", "auto")[0] == "stacking"
    assert "attention_maps" not in everything
    assert names("gated", "concat", "average", "concat") == ["concat", "average"]


@pytest.mark.slow
def test_pairs_are_compared_by_the_first_fusion(
    images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    experiment = _experiment(images, shared_bank, sources=[*SOURCES, "mini:densenet"])
    settings = CompareSettings(
        folds=3, fusions=("weighted",), pairs=True, baselines=False, workers=1, progress=False
    )
    found = medfuse.compare(experiment, tmp_path / "out", settings).comparison
    pairs = [c["name"] for c in found["candidates"] if c["kind"] == "pair"]
    assert pairs == [
        "mini:resnet + timm:test_resnet.random",
        "mini:resnet + mini:densenet",
        "timm:test_resnet.random + mini:densenet",
    ]
    assert found["fused"] == "weighted"


@pytest.mark.slow
def test_cases_without_an_input_are_compared_where_both_can_see(
    images: Path, tmp_path: Path
) -> None:
    experiment = experiment_with_table(table_of(images, tmp_path / "cases.csv"), fusion="concat")
    found = compare(experiment, tmp_path / "out", CompareSettings(**QUICK)).comparison
    seen = {c["name"]: c["cases"] for c in found["candidates"]}
    assert seen["concat"] == found["cases"]
    assert seen["timm:test_resnet.random"] < found["cases"]
    assert "chosen fusion" not in seen


def test_another_configuration_does_not_get_the_folder(
    outcome: ComparisonOutcome, images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    other = _experiment(images, shared_bank, seed=7)
    with pytest.raises(OutputError, match="a comparison by another configuration.*--fresh"):
        compare(other, outcome.folder, CompareSettings(**QUICK))
    typo = {**other, "cohort": {"path": f"{images}2"}}
    with pytest.raises(CohortError, match="no such file or folder"):
        compare(typo, outcome.folder, CompareSettings(**QUICK, fresh=True))
    assert outcome.report.is_file()
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"not a medfuse comparison \(found 'note.txt'\)"):
        compare(other, tmp_path, CompareSettings(**QUICK))
    assert [item.name for item in tmp_path.iterdir()] == ["note.txt"]


def test_what_cannot_be_compared_is_refused_before_anything_is_read(
    images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    experiment = _experiment(images, shared_bank)
    with pytest.raises(ConfigError, match="'attention_maps' takes feature maps"):
        compare(experiment, tmp_path / "a", CompareSettings(fusions=("attention_maps",)))
    with pytest.raises(SourceError, match="found 1 source to compare, expected at least 2"):
        compare({**experiment, "sources": SOURCES[:1]}, tmp_path / "a")
    with pytest.raises(ConfigError, match="multilabel.*each case has one class"):
        compare({**experiment, "head": "multilabel"}, tmp_path / "a")
    with pytest.raises(ConfigError, match="found folds 1, expected 2 or more"):
        CompareSettings(folds=1)
    with pytest.raises(ConfigError, match=r"found scratch_size \[0, 64\], expected 1 to 4096"):
        CompareSettings(scratch_size=(0, 64))
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_source_trained_on_the_cohort_is_refused_unless_accepted(
    images: Path, shared_bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded source says which data sets it was trained on; one gets the cohort's name."""
    from medfuse.workflows import compare_task

    real = compare_task.load_networks

    def trained_here(*arguments: Any, **options: Any) -> Any:
        built = real(*arguments, **options)
        built[0].card["training_data"] = ["tiny"]
        return built

    monkeypatch.setattr(compare_task, "load_networks", trained_here)
    experiment = _experiment(images, shared_bank)
    with pytest.raises(SourceError, match=r"mini:resnet was trained on tiny.*--accept-overlap"):
        compare(experiment, tmp_path / "out", CompareSettings(**QUICK))
    settings = CompareSettings(**{**QUICK, "baselines": False, "accept_overlap": True})
    found = compare(experiment, tmp_path / "out", settings)
    assert found.comparison["sources"]["mini:resnet"]["overlap"] == ["tiny"]
    assert "was trained on tiny" in found.report.read_text()


def _let_be_seen(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a source have learned from seven of the cases."""
    from medfuse.workflows import compare_task
    from medfuse.workflows.seen import find_seen

    def some(digests: Any, seen: Any) -> Any:
        known = frozenset(next(iter(d)) for d in digests[:7])
        return find_seen(digests, {source: known})

    monkeypatch.setattr(compare_task, "find_seen", some)


@pytest.mark.slow
def test_cases_that_a_source_has_seen_are_counted_for_every_candidate_that_reads_it(
    images: Path, shared_bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _let_be_seen("mini:resnet", monkeypatch)
    settings = CompareSettings(**{**QUICK, "baselines": False})
    found = compare(_experiment(images, shared_bank), tmp_path / "out", settings)
    seen = found.comparison["seen"]
    assert (seen["mini:resnet"], seen["timm:test_resnet.random"], seen["concat"]) == (7, 0, 7)
    assert "mini:resnet has seen 7 of the 48 cases" in found.report.read_text()
    assert "cases seen before" in (tmp_path / "out" / "tables" / "candidates.md").read_text()


@pytest.mark.slow
def test_learning_curve_ends_with_the_comparison_itself(
    outcome: ComparisonOutcome, images: Path, shared_bank: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = CompareSettings(**{**QUICK, "curve": (12, 24), "draws": 2})
    found = compare(_experiment(images, shared_bank), outcome.folder, settings)
    curve = found.comparison["curve"]
    areas = {c["name"]: c["auroc"]["value"] for c in found.comparison["candidates"]}
    assert set(curve["points"]) == {"mini:resnet", "concat", "logistic regression, all sources"}
    for name, points in curve["points"].items():
        assert [point["cases"] for point in points] == [12, 24, 32]
        assert points[-1]["value"] == pytest.approx(areas[name])
    assert [gain["cases"] for gain in curve["gains"]] == [12, 24, 32]
    with (outcome.folder / "tables" / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3 * (2 * 2 + 1)
    assert (outcome.folder / "plots" / "learning_curve.png").is_file()
    assert "Learning curve" in found.report.read_text()
    with caplog.at_level("INFO", "medfuse"):
        compare(_experiment(images, shared_bank), outcome.folder, CompareSettings(**QUICK))
    assert "replaced the earlier results here: now without a learning curve" in caplog.text
    assert not (outcome.folder / "plots" / "learning_curve.png").exists()


def test_what_an_earlier_result_held_is_said_when_it_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = parse_experiment(small_experiment(tmp_path / "images"))
    result = tmp_path / "out" / "comparison.json"
    earlier = {"folds": 5, "candidates": [{"name": "a"}, {"name": "b"}], "target": {}}
    with claim_compare_folder(tmp_path / "out", asked) as claimed, caplog.at_level("INFO"):
        claimed.finish(earlier)
        claimed.finish(earlier)
        assert "replaced" not in caplog.text
        claimed.finish({"folds": 3, "candidates": [{"name": "b"}]})
        assert "now without a, 3 folds in place of 5" in caplog.text
        for damaged in ("{", "[1]", '{"folds": 3}', "[" * 200_000):
            result.write_text(damaged)
            claimed.finish(earlier)
            assert json.loads(result.read_text()) == earlier


def test_more_cases_are_drawn_fewer_times() -> None:
    assert [draws_at(size, 3) for size in (12, 25, 50, 74, 75, 400, 3200)] == [3, 3, 2, 2, 1, 1, 1]
    assert [draws_at(size, 1) for size in (25, 400)] == [1, 1]


def test_a_curve_begins_at_25_cases_and_ends_at_three_quarters() -> None:
    assert default_sizes(33) == []
    assert default_sizes(34) == [25]
    assert default_sizes(1066) == [25, 50, 100, 200, 400]
    assert default_sizes(1067) == [25, 50, 100, 200, 400, 800]


@pytest.mark.slow
def test_a_curve_trains_no_more_than_the_draws_of_each_size(
    outcome: ComparisonOutcome, images: Path, shared_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_curve, "_FEWEST", 12)
    settings = CompareSettings(**{**QUICK, "curve": (12, 24), "draws": 2})
    compare(_experiment(images, shared_bank), outcome.folder, settings)
    with (outcome.folder / "tables" / "curve.csv").open(newline="") as file:
        found = Counter((row["candidate"], row["cases"]) for row in csv.DictReader(file))
    for name in ("mini:resnet", "concat", "logistic regression, all sources"):
        assert [found[name, size] for size in ("12", "24", "32")] == [2 * 3, 1 * 3, 1 * 3]


def test_a_size_that_no_fold_has_is_refused_before_anything_is_trained(
    images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    settings = CompareSettings(**{**QUICK, "curve": (12, 500)})
    with pytest.raises(ConfigError, match="asks for 500 training cases, but a fold has 32"):
        compare(_experiment(images, shared_bank), tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_network_from_random_weights_is_trained_on_the_images_once(
    images: Path, shared_bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medfuse.workflows import compare_scratch

    experiment = _experiment(images, shared_bank)
    changes = {"baselines": False, "scratch": "timm:test_resnet.random", "scratch_epochs": 1}
    changes["scratch_size"] = (48, 48)
    settings = CompareSettings(**{**QUICK, **changes})
    _let_be_seen("timm:test_resnet.random", monkeypatch)
    found = compare(experiment, tmp_path / "out", settings).comparison
    name = "timm:test_resnet.random from random weights"
    assert (found["seen"][name], found["seen"]["timm:test_resnet.random"]) == (0, 7)
    assert [c["kind"] for c in found["candidates"] if c["name"] == name] == ["scratch"]
    row = next(r for r in found["comparisons"] if r["second"] == name)
    assert (row["question"], row["first"]) == ("baselines", "concat")
    larger = CompareSettings(**{**QUICK, **changes, "scratch_size": None})
    monkeypatch.setattr(compare_scratch, "learn", None)
    with pytest.raises(TypeError):
        compare(experiment, tmp_path / "out", larger)
    assert compare(experiment, tmp_path / "out", settings).comparison == found
    with pytest.raises(ConfigError, match=r"--scratch mini:resne: found no such source.*Did you"):
        compare(experiment, tmp_path / "out", CompareSettings(scratch="mini:resne"))
