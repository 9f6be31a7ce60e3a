"""A comparison of cases with several labels: answer, files, page, resumption, refusals."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from medfuse.errors import CohortError, ConfigError
from medfuse.workflows import compare_fits
from medfuse.workflows.compare import ComparisonOutcome, compare
from medfuse.workflows.compare_settings import CompareSettings

from .conftest import small_experiment
from .labelled import LABELS, write_labelled

pytestmark = pytest.mark.slow

SOURCES = ["mini:resnet.distilled", "timm:test_resnet.random"]
QUICK: dict[str, Any] = {
    "folds": 3,
    "fusions": ("concat", "average"),
    "members": 1,
    "workers": 1,
    "progress": False,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


def _experiment(table: Path, bank: Path, **changes: Any) -> dict[str, Any]:
    plain = {
        "cohort": {"path": str(table), "label": list(LABELS)},
        "sources": SOURCES,
        "fusion": "concat",
        "augmentation": {"views": 0},
        "training": {"epochs": 8, "lr": 0.01},
        "bank": {"path": str(bank)},
    }
    return small_experiment(table, **{**plain, **changes})


@pytest.fixture(scope="module")
def outcome(
    table: Path, shared_bank: Path, tmp_path_factory: pytest.TempPathFactory
) -> ComparisonOutcome:
    out = tmp_path_factory.mktemp("compare") / "found"
    settings = CompareSettings(**QUICK, curve=(20, 40), draws=2)
    return compare(_experiment(table, shared_bank), out, settings)


def _rows(outcome: ComparisonOutcome) -> list[dict[str, str]]:
    with (outcome.folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _answers(rows: list[dict[str, str]], name: str) -> tuple[np.ndarray, np.ndarray]:
    known = [row for row in rows if row[f"true_{name}"]]
    truth = np.array([int(row[f"true_{name}"]) for row in known])
    return truth, np.array([float(row[f"prob_{name}"]) for row in known])


def test_every_candidate_is_scored_and_the_verdict_is_about_the_fusion(
    outcome: ComparisonOutcome,
) -> None:
    found = outcome.comparison
    names = [c["name"] for c in found["candidates"]]
    assert names[:4] == [*SOURCES, "concat", "average"]
    assert {"chosen single", "chosen fusion", "k-NN, all sources"} <= set(names)
    assert "logistic regression, all sources" in names
    assert (found["task"], found["left_out"]) == ("multilabel", [])
    assert found["left_aside"] > 0
    assert outcome.verdict.startswith(("fusing ", "no evidence that fusing "))
    area = {c["name"]: c["auroc"]["value"] for c in found["candidates"]}
    assert area["logistic regression, mini:resnet.distilled"] > 0.7
    assert found["best_single"] == "mini:resnet.distilled"


def test_predictions_give_the_reported_scores_by_scikit_learn(outcome: ComparisonOutcome) -> None:
    rows = _rows(outcome)
    for found in outcome.comparison["candidates"]:
        own = [row for row in rows if row["candidate"] == found["name"]]
        areas, right, losses = [], [], []
        for name in LABELS:
            truth, chance = _answers(own, name)
            assert 0 < len(truth) < len(own)
            right.append(accuracy_score(truth, chance >= 0.5))
            losses.append(log_loss(truth, chance))
            areas += [
                roc_auc_score(*_answers([row for row in own if row["fold"] == fold], name))
                for fold in "012"
            ]
        assert found["auroc"]["value"] == pytest.approx(np.mean(areas))
        assert found["accuracy"]["value"] == pytest.approx(np.mean(right))
        assert found["log_loss"]["value"] == pytest.approx(np.mean(losses))


def test_predictions_have_a_column_for_each_label(outcome: ComparisonOutcome) -> None:
    rows = _rows(outcome)
    assert list(rows[0])[5:] == [*(f"prob_{n}" for n in LABELS), *(f"true_{n}" for n in LABELS)]
    for row in rows:
        said = [name for name in LABELS if float(row[f"prob_{name}"]) >= 0.5]
        held = [name for name in LABELS if row[f"true_{name}"] == "1"]
        assert row["predicted"] == ";".join(said)
        assert row["label"] == (";".join(held) or "none")
    assert any(row["predicted"].count(";") for row in rows)
    folds = {(row["case_id"], row["fold"]) for row in rows}
    assert len(folds) == outcome.comparison["cases"], "a case lies in one fold"


def test_folder_holds_tables_plots_curve_and_a_page_that_speaks_of_labels(
    outcome: ComparisonOutcome,
) -> None:
    tables = {file.name for file in (outcome.folder / "tables").iterdir()}
    assert {"candidates.csv", "fusing.tex", "choosing.md", "baselines.csv", "curve.csv"} <= tables
    header = (outcome.folder / "tables" / "candidates.csv").read_text().splitlines()[0]
    assert "exact_match" in header
    assert "balanced_accuracy" not in header
    assert {"differences.png", "candidates.png", "learning_curve.png"} <= {
        file.name for file in (outcome.folder / "plots").iterdir()
    }
    html = outcome.report.read_text()
    held, absent = (outcome.comparison[key]["opacity"] for key in ("support", "absent"))
    assert f"opacity {held} of {held + absent} known" in html
    for text in ("AUROC: mean over the labels", "exact match", "unknown answers are left out"):
        assert text in html
    assert "balanced accuracy" not in html


def test_curve_ends_with_the_comparison_itself(outcome: ComparisonOutcome) -> None:
    curve = outcome.comparison["curve"]
    areas = {c["name"]: c["auroc"]["value"] for c in outcome.comparison["candidates"]}
    best = outcome.comparison["best_single"]
    assert set(curve["points"]) == {best, "concat", "logistic regression, all sources"}
    for name, points in curve["points"].items():
        assert [point["cases"] for point in points][:2] == [20, 40]
        assert points[-1]["value"] == pytest.approx(areas[name])
    assert all(0 <= fit["accuracy"] <= 1 for fit in curve["fits"])


def test_second_run_trains_nothing_and_another_head_is_another_comparison(
    outcome: ComparisonOutcome, table: Path, shared_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []
    real = compare_fits.fit_candidate
    monkeypatch.setattr(compare_fits, "fit_candidate", lambda *a: trained.append(a[1]) or real(*a))
    settings = CompareSettings(**QUICK, curve=(20, 40), draws=2)
    again = compare(_experiment(table, shared_bank), outcome.folder, settings)
    assert trained == []
    assert again.comparison == outcome.comparison


def test_folds_spread_every_label_and_keep_patients_together(
    outcome: ComparisonOutcome,
) -> None:
    rows = [row for row in _rows(outcome) if row["candidate"] == "concat"]
    for name in LABELS:
        held = [sum(r["fold"] == f and r[f"true_{name}"] == "1" for r in rows) for f in "012"]
        assert max(held) - min(held) <= 2, name


def _with_rare_label(table: Path, patients: int) -> Path:
    """Add a label that some patients have, the first ones."""
    header, *lines = table.read_text().splitlines()
    rows = [f"{line},{int(number < patients)}" for number, line in enumerate(lines)]
    file = table.with_name(f"rare{patients}.csv")
    file.write_text("\n".join([f"{header},hernia", *rows]) + "\n")
    return file


def test_a_label_of_too_few_patients_is_learned_and_left_out_of_the_means(
    table: Path, shared_bank: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = _experiment(_with_rare_label(table, 3), shared_bank)
    experiment["cohort"] |= {"label": [*LABELS, "hernia"], "split": {"test": 0}}
    settings = CompareSettings(**{**QUICK, "baselines": False})
    found = compare(experiment, tmp_path / "out", settings)
    assert found.comparison["left_out"] == ["hernia"]
    assert "hernia: too few patients of one answer outside the test part" in caplog.text
    assert "Scores are means over 2 of 3 labels: hernia has too few" in found.report.read_text()
    assert "true_hernia" in _rows(found)[0]


def test_labels_that_cannot_be_tested_and_targets_are_refused(
    table: Path, shared_bank: Path, tmp_path: Path
) -> None:
    experiment = _experiment(table, shared_bank)
    with pytest.raises(ConfigError, match=r"target x: .* one class per case.*Leave out --target"):
        compare(experiment, tmp_path / "out", CompareSettings(**QUICK, target="x"))
    with pytest.raises(ConfigError, match="have several labels.*Use head: multilabel"):
        compare({**experiment, "head": "mlp"}, tmp_path / "out", CompareSettings(**QUICK))
    header, *lines = table.read_text().splitlines()
    few = table.with_name("few.csv")
    rows = [",".join([*line.split(",")[:2], *("10" if n < 2 else "00")])
            for n, line in enumerate(lines)]  # fmt: skip
    rows[2:4] = [row[:-1] + "1" for row in rows[2:4]]
    few.write_text("\n".join([header, *rows]) + "\n")
    experiment["cohort"] |= {"path": str(few), "split": {"test": 0}}
    with pytest.raises(CohortError, match="no label has, outside the test part, enough patients"):
        compare(experiment, tmp_path / "out", CompareSettings(**QUICK))
    assert not (tmp_path / "out").exists()


def test_network_from_random_weights_learns_labels_too(
    table: Path, shared_bank: Path, tmp_path: Path
) -> None:
    changes = {"scratch": "timm:test_resnet.random", "scratch_epochs": 1, "scratch_size": (48, 48)}
    settings = CompareSettings(**{**QUICK, **changes, "baselines": False})
    found = compare(_experiment(table, shared_bank), tmp_path / "out", settings)
    name = "timm:test_resnet.random from random weights"
    row = next(r for r in found.comparison["comparisons"] if r["second"] == name)
    assert (row["question"], row["first"]) == ("baselines", "concat")
    own = [r for r in _rows(found) if r["candidate"] == name]
    assert len(own) == found.comparison["cases"]
    assert any(abs(sum(float(r[f"prob_{n}"]) for n in LABELS) - 1) > 0.05 for r in own)
