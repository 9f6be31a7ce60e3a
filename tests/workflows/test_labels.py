"""Several labels per case from images to the bundle: metrics, thresholds, parity."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medfuse.config import CohortConfig, InputConfig, parse_experiment
from medfuse.data import read_cohort, read_split
from medfuse.errors import CohortError, ConfigError
from medfuse.evaluation import read_predictions
from medfuse.plots import class_counts
from medfuse.registry import load_registry
from medfuse.serving.predict import load_bundle
from medfuse.workflows.check import check
from medfuse.workflows.check_page import cohort_tables
from medfuse.workflows.evaluate import evaluate
from medfuse.workflows.explain import ExplainOptions, cases_of_run, explain_cases
from medfuse.workflows.explain_subject import open_subject
from medfuse.workflows.explain_table import summary_of
from medfuse.workflows.preflight import check_with_cohort
from medfuse.workflows.pretrain_labels import read_labelled
from medfuse.workflows.rank import rank_sources
from medfuse.workflows.settle import settle_head
from medfuse.workflows.train import TrainingOutcome, train
from medfuse.workflows.validate import validate

from .conftest import small_experiment
from .labelled import LABELS, write_labelled


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


def _experiment(table: Path, **changes) -> dict:
    cohort = {"path": str(table), "label": list(LABELS), "split": {"test": 0.4}}
    return small_experiment(
        table,
        cohort=cohort,
        head={"use": "multilabel", "hidden": 0},
        sources=[{"use": "mini:resnet.distilled"}, {"use": "mini:densenet.distilled"}],
        training={"epochs": 20, "members": 2, "lr": 0.01, "class_weights": "balanced"},
        evaluation={"bootstrap": 100},
        **changes,
    )


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingOutcome:
    return train(_experiment(table), tmp_path_factory.mktemp("labels") / "run", progress=False)


@pytest.mark.slow
def test_every_label_is_told_clearly_better_than_by_chance(run: TrainingOutcome) -> None:
    for name in LABELS:
        area = run.metrics["test"]["per_class"][name]["auroc"]
        assert area["low"] > 0.55, name
        assert run.metrics["test"]["per_class"][name]["unknown"] > 0
        assert run.metrics["test"]["per_class"][name]["threshold"]["chosen_on"] == "held-out folds"
    assert {row["auroc"]["test"] for row in run.metrics["comparison"]["sources"]} == {
        "bootstrap by patient"
    }


@pytest.mark.slow
def test_the_bundle_gives_the_reported_probabilities_and_labels(
    run: TrainingOutcome, table: Path
) -> None:
    assert run.metrics["bundle"]["difference"] < 1e-5
    rows, classes = read_predictions(run.folder / "predictions.csv")
    assert classes == LABELS
    cases, _ = read_split(run.folder / "cohort.csv")
    assert [row.findings for row in rows] == [case.findings for case in cases.cases]
    assert any(abs(sum(row.probabilities) - 1) > 0.2 for row in rows)
    chosen = [row for row in rows if row.role == "test"]
    files = {case.case_id: case.inputs["image"] for case in cases.cases}
    found = load_bundle(run.bundle, "cpu").predict([files[row.case_id] for row in chosen])
    for row, one in zip(chosen, found, strict=True):
        assert list(one.probabilities.values()) == pytest.approx(row.probabilities, abs=1e-5)
        assert one.predicted == row.predicted


@pytest.mark.slow
def test_the_bundle_says_that_labels_exclude_nothing(run: TrainingOutcome) -> None:
    configs = run.bundle / "configs"
    inference = json.loads((configs / "inference.json").read_text())
    assert inference["postprocessing"]["transforms"][0]["sigmoid"] is True
    own = json.loads((configs / "metadata.json").read_text())["medfuse"]
    assert own["link"] == "sigmoid"
    limits = [run.metrics["test"]["per_class"][name]["threshold"]["value"] for name in LABELS]
    assert list(own["thresholds"].values()) == limits == inference["handlers"][-1]["thresholds"]
    card = (run.bundle / "docs" / "README.md").read_text()
    assert "Several can hold at once, or none" in card
    assert "gets one of 2 answers" not in card
    assert "`effusion`, `opacity`, each cell 1, 0, or blank" in card
    training = json.loads((configs / "train.json").read_text())
    assert training["label_weights"]["_target_"].endswith(".positive_weights")


@pytest.mark.slow
def test_monai_alone_fine_tunes_the_bundle_from_the_loss_that_it_has(
    run: TrainingOutcome, table: Path, tmp_path: Path
) -> None:
    header, *lines = table.read_text().splitlines()
    for part, kept in (("train", lines[:30]), ("val", lines[30:42])):
        rows = [f"{table.parent}/{line}" for line in kept]
        (tmp_path / part).mkdir()
        (tmp_path / part / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    command = [
        *(sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(run.bundle)),
        *("--config_file", str(run.bundle / "configs" / "train.json"), "--learning_rate", "0.01"),
        *("--dataset_dir", str(tmp_path), "--ckpt_dir", str(tmp_path / "models")),
        *("--train::trainer::max_epochs", "2", "--loss::smoothing", "0.2"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    losses = [float(x) for x in re.findall(r"Metrics --.* val_loss: ([\d.]+)", said)]
    answers = {
        part: np.array([[float(cell or "nan") for cell in line.split(",")[2:]] for line in kept])
        for part, kept in (("train", lines[:30]), ("val", lines[30:42]))
    }
    weights = (answers["train"] == 0).sum(0) / (answers["train"] == 1).sum(0)
    files = [table.parent / line.split(",")[0] for line in lines[30:42]]
    found = load_bundle(run.bundle, "cpu").predict([str(file) for file in files])
    chance = np.array([list(one.probabilities.values()) for one in found])
    truth = answers["val"]
    parts = -(weights * truth * np.log(chance) + (1 - truth) * np.log(1 - chance))
    assert len(losses) == 3
    assert losses[0] == pytest.approx(np.nansum(parts) / parts.size, abs=1e-4)
    assert "passed over, no labels: patient_id" in said
    assert (tmp_path / "models" / "model_candidate.pt").is_file()


@pytest.mark.slow
def test_evaluating_the_bundle_on_the_test_part_gives_the_same_metrics(
    run: TrainingOutcome, table: Path, tmp_path: Path
) -> None:
    outcome = evaluate(run.bundle, run.folder / "cohort.csv", tmp_path / "out", part="test")
    for key in ("auroc_macro", "exact_match", "hamming_loss", "f1_micro"):
        expected = run.metrics["test"]["overall"][key]["value"]
        assert outcome.metrics["overall"][key]["value"] == pytest.approx(expected, abs=1e-5)
    one = CohortConfig(path=str(table), label="effusion")
    with pytest.raises(CohortError, match="has one class per case, but the bundle"):
        evaluate(run.bundle, one, tmp_path / "other")


@pytest.mark.slow
def test_the_report_shows_labels(run: TrainingOutcome) -> None:
    page = (run.folder / "report.html").read_text()
    for text in (
        *("exact match", "has / lacks / unknown", "known answers are wrong", "threshold"),
        *(
            "points of each label against its absence",
            "true label",
            "cross entropy of each label",
            "88 labeled cases",
        ),
    ):
        assert text in page
    assert "they sum to 1" not in page
    assert not (run.folder / "plots" / "confusion_matrix.png").exists()


@pytest.mark.slow
def test_an_explanation_says_what_the_bundle_says(run: TrainingOutcome, tmp_path: Path) -> None:
    rows, _ = read_predictions(run.folder / "predictions.csv")
    tested = {row.case_id: row for row in rows if row.role == "test" and row.label}
    subject = open_subject(run.folder, "cpu")
    asked = cases_of_run(subject, None, str(tmp_path))
    assert {one.case.name: one.label for one in asked if one.label != ""} == {
        name: row.label for name, row in tested.items()
    }
    empty = next(i for i, one in enumerate(asked) if tested[one.case.name].predicted == "")
    files = [asked[i].case.items["image"] for i in {0, empty}]
    options = ExplainOptions(device="cpu", progress=False)
    for found, _ in explain_cases(run.folder, files, options=options):
        row = next(r for r in rows if r.case_id == Path(found.case).name)
        assert found.predicted == row.predicted
        assert list(found.probabilities.values()) == pytest.approx(row.probabilities, abs=1e-5)


def test_a_map_of_one_of_several_labels_counts_where_the_label_holds_and_was_said() -> None:
    def record(label: str, predicted: str, hit: float) -> dict:
        one = {"method": "gradcam", "input": "image", "source": "a", "points_at": hit}
        told = {"status": "ok", "label": label, "predicted": predicted, "class": "opacity"}
        return {**told, "effects": {}, "shares": {}, "maps": [one]}

    records = [
        record("effusion;opacity", "opacity", 1.0),
        record("effusion", "effusion;opacity", 0.0),
        record("opacity", "effusion", 0.0),
    ]
    (found,) = summary_of(records, [])["scores"]
    assert (found["true_positives"], found["points_at_true_positives"]) == (1, 1.0)


def test_the_bars_of_labels_are_named_by_cases_and_not_by_labels() -> None:
    drawing = class_counts({"train": {"a": 3, "b": 4}}, ("a", "b"), {"train": 5})
    assert [text.get_text() for text in drawing.legends[0].get_texts()] == ["train (5)"]


def test_a_head_of_classes_is_refused_for_labels_and_the_other_way_round(table: Path) -> None:
    registry = load_registry()
    experiment = parse_experiment({**_experiment(table), "head": "mlp"})
    cohort = read_cohort(experiment.cohort)
    with pytest.raises(ConfigError, match="have several labels.*Use head: multilabel"):
        check_with_cohort(experiment, registry, cohort)
    single = {**_experiment(table), "cohort": {"path": str(table), "label": "effusion"}}
    experiment = parse_experiment(single)
    with pytest.raises(ConfigError, match="each case has one class"):
        check_with_cohort(experiment, registry, read_cohort(experiment.cohort))


def test_the_default_head_is_for_what_the_cases_have(table: Path) -> None:
    data = {key: value for key, value in _experiment(table).items() if key != "head"}
    several = parse_experiment(data)
    cohort = read_cohort(several.cohort)
    assert settle_head(several, cohort).head.use == "multilabel"
    check_with_cohort(settle_head(several, cohort), load_registry(), cohort)
    named = parse_experiment({**data, "head": "mlp"})
    assert settle_head(named, cohort).head.use == "mlp"
    one = parse_experiment({**data, "cohort": {"path": str(table), "label": "effusion"}})
    assert settle_head(one, read_cohort(one.cohort)).head.use == "mlp"


@pytest.mark.slow
def test_sources_are_ranked_by_the_mean_over_the_labels(table: Path, tmp_path: Path) -> None:
    data = {**_experiment(table), "bank": {"path": str(tmp_path)}}
    data["sources"] = ["mini:resnet.distilled", "timm:test_resnet.random"]
    cohort = {**data["cohort"], "split": {"test": 0, "validation": 0}}
    both = rank_sources({**data, "cohort": cohort})
    assert both.classes == LABELS
    assert both.sources[0].source == "mini:resnet.distilled"
    alone = [rank_sources({**data, "cohort": {**cohort, "label": name}}) for name in LABELS]
    for name in ("logme", "h_score", "neighbors"):
        values = [ranking.sources[0].measures[name]["value"] for ranking in alone]
        # not to the last digit: alone, features are standardized over the label's known cases
        found = both.sources[0].measures[name]["value"]
        assert found == pytest.approx(np.mean(values), rel=0.05), name


@pytest.mark.slow
def test_the_check_of_a_cohort_counts_labels(table: Path, tmp_path: Path) -> None:
    config = CohortConfig(path=str(table), label=list(LABELS))
    outcome = check(config, tmp_path / "check", progress=False)
    found = json.loads((tmp_path / "check" / "check.json").read_text())
    codes = {finding["code"] for finding in found["findings"]}
    assert "LABEL_UNKNOWN" in codes
    assert "CLASS_TOO_SMALL" not in codes
    assert "several labels" in found["shortcuts"]["reason"]
    for index, name in enumerate(LABELS):
        answers = [case.findings[index] for case in outcome.cohort.cases]
        counts = [answers.count(one) for one in (1, 0, None)]
        assert list(found["labels"][name].values()) == counts
        assert counts[2] > 0
    first, second, *_ = cohort_tables(outcome)
    assert first.header == ["label", "holds", "absent", "unknown"]
    assert [row[0] for row in first.rows] == list(LABELS)
    assert second.header[0] == "combination of labels"
    assert "An unknown answer is not told from an absent label here" in second.caption
    names = {row["name"] for row in found["tables"]["class"]}
    assert {"effusion;opacity", "none", "all"} <= names
    assert outcome.shortcuts.shortcuts == ()


def test_supervised_pretraining_refuses_several_labels(tmp_path: Path) -> None:
    images, labels = np.zeros((14, 8, 8), np.uint8), np.eye(14, dtype=np.uint8)
    np.savez(tmp_path / "chestmnist.npz", train_images=images, train_labels=labels)
    with pytest.raises(CohortError, match="learns one class per case"):
        read_labelled(str(tmp_path / "chestmnist.npz"), InputConfig())


@pytest.mark.slow
def test_labels_are_validated_by_site_each_by_its_own_model_and_thresholds(
    table: Path, tmp_path: Path
) -> None:
    header, *lines = table.read_text().splitlines()
    sited = [f"{line},{'east' if number % 2 else 'west'}" for number, line in enumerate(lines)]
    file = table.with_name("sites.csv")
    file.write_text("\n".join([f"{header},site", *sited]) + "\n")
    experiment = _experiment(file)
    experiment["sources"] = experiment["sources"][:1]
    experiment["training"] = {"epochs": 2, "members": 2}
    experiment["evaluation"] = {"bootstrap": 20, "baselines": False, "threshold": "youden"}
    outcome = validate(experiment, tmp_path / "sites", progress=False)
    rows, classes = read_predictions(outcome.folder / "predictions.csv")
    runs = sorted((outcome.folder / "sites").iterdir())
    limits = [json.loads((run / "metrics.json").read_text())["test"]["per_class"] for run in runs]
    assert limits[0][LABELS[0]]["threshold"] != limits[1][LABELS[0]]["threshold"]
    tested = [
        {row.case_id for row in read_predictions(run / "predictions.csv")[0] if row.role == "test"}
        for run in runs
    ]
    right = []
    for row in rows:
        own = limits[0 if row.case_id in tested[0] else 1]
        pairs = zip(classes, row.probabilities, row.findings, strict=True)
        right.append(
            all(t is None or t == (p >= own[n]["threshold"]["value"]) for n, p, t in pairs)
        )
    pooled = outcome.metrics["pooled"]
    assert pooled["overall"]["exact_match"]["value"] == pytest.approx(np.mean(right))
    assert pooled["per_class"]["opacity"]["threshold"]["value"] is None
    known = [(r.findings[1], r.probabilities[1]) for r in rows if r.findings[1] is not None]
    area = roc_auc_score(*zip(*known, strict=True))
    assert pooled["per_class"]["opacity"]["auroc"]["value"] == pytest.approx(area)
    header = (outcome.folder / "sites.csv").read_text().splitlines()[0]
    assert "exact_match" in header
    assert "accuracy" not in header
    assert "its own" in (outcome.folder / "report.html").read_text()
