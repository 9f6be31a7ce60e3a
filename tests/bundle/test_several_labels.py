"""A bundle of several labels per case is measured and fine-tuned by MONAI alone."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from medfuse.bundle.export import export_bundle
from medfuse.bundle.label_answers import LabelAnswersd
from medfuse.bundle.label_app.lib.served_bundle import ServedBundle
from medfuse.bundle.label_metric import MEASURES, LabelMetric
from medfuse.bundle.label_table import list_answered_images
from medfuse.bundle.nodes import why_not_trainable
from medfuse.bundle.verify import verify_bundle
from medfuse.bundle.write import write_bundle
from medfuse.evaluation import EvaluationSettings, LabelPredictions, evaluate_labels
from medfuse.training.label_loss import LabelLoss, positive_weights

LABELS = ("effusion", "No, finding", "opacity")
THRESHOLDS = (0.4, 0.5, 0.6)
UNKNOWN = float("nan")
FIRST = "images/0.png"
HEAD = {"classifier.head.linear.weight", "classifier.head.linear.bias"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture(scope="module")
def labels_request(request_for):
    return request_for(
        LABELS, name="labels", link="sigmoid", thresholds=THRESHOLDS, label_weights="balanced"
    )


@pytest.fixture(scope="module")
def bundle(labels_request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    request = replace(labels_request, graphs=False)
    return write_bundle(request, tmp_path_factory.mktemp("labels"))


def write_table(folder: Path, rows: list[list[str]], header: list[str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header or ["image", *LABELS])
        writer.writerows(rows)
    return folder


def write_part(folder: Path, count: int, seed: int) -> Path:
    """Write images that are brighter for each label that holds; one in five answers is blank."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        answers = [(number >> place) & 1 for place in range(len(LABELS))]
        pixels = rng.integers(0, 60, (50, 60)) + 40 * np.repeat([*answers, 1], 15)[None, :60]
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{number}.png")
        cells = ["" if rng.random() < 0.2 else str(one) for one in answers]
        rows.append([f"images/{number}.png", *cells])
    return write_table(folder, rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_part(folder / "train", 24, 0)
    write_part(folder / "val", 9, 1)
    return folder


def truth_of(part: Path) -> torch.Tensor:
    """The answers of a part, read another way."""
    with (part / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return torch.tensor([[float(row[name] or "nan") for name in LABELS] for row in rows])


def chances_of(rows: list[dict[str, str]]) -> torch.Tensor:
    return torch.tensor([[float(row[f"prob_{name}"]) for name in LABELS] for row in rows])


def expected_loss(chances: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor) -> float:
    """Binary cross entropy of the known answers by its formula, from probabilities."""
    known = ~truth.isnan()
    y, p = truth.nan_to_num(0).double(), chances.double()
    parts = -(weights.double() * y * p.log() + (1 - y) * (1 - p).log())
    return float(parts[known].sum() / known.numel())


def weights_of(truth: torch.Tensor) -> torch.Tensor:
    return (truth == 0).sum(0) / (truth == 1).sum(0)


@pytest.fixture(scope="module")
def tuned(bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Fine-tuning by the card's own command, in a process without medfuse."""
    folder = tmp_path_factory.mktemp("tuned")
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^python (-m monai.bundle run .*train.json.*)$", card, re.MULTILINE)
    asked = shlex.split(line.replace("$B", str(bundle)).replace("$DATA", str(data)))
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['medfuse'] = None\n")
    further = [
        "--ckpt_dir", str(folder / "models"), "--train::trainer::max_epochs", "6",
        "--batch_size", "8", "--learning_rate", "0.02",
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, *asked, *further],
        cwd="/", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    losses = [float(x) for x in re.findall(r"Metrics --.* val_loss: ([\d.]+)", said)]
    return folder / "models", losses


def test_the_first_loss_is_that_of_the_bundle_and_it_falls(
    tuned, bundle: Path, data: Path, run_rows, tmp_path: Path
) -> None:
    _, losses = tuned
    chances = chances_of(run_rows(bundle, data / "val", tmp_path / "out"))
    weights = weights_of(truth_of(data / "train"))
    expected = expected_loss(chances, truth_of(data / "val"), weights)
    assert len(losses) == 7
    assert losses[0] == pytest.approx(expected, abs=1e-4)
    assert min(losses) < 0.9 * losses[0]


def test_the_candidate_has_the_lowest_loss_and_inference_takes_it(
    tuned, bundle: Path, data: Path, monai_run, read_table, tmp_path: Path
) -> None:
    models, losses = tuned
    assert [path.name for path in models.iterdir()] == ["model_candidate.pt"]
    path = models / "model_candidate.pt"
    before = torch.load(bundle / "models" / "model.pt", weights_only=True)
    after = torch.load(path, weights_only=True)
    assert list(after) == list(before)
    assert {n for n in before if not torch.equal(before[n].float(), after[n].float())} == HEAD
    rows = read_table(monai_run(bundle, data / "val", tmp_path / "out", ckpt_path=str(path)))
    weights = weights_of(truth_of(data / "train"))
    found = expected_loss(chances_of(rows), truth_of(data / "val"), weights)
    assert found == pytest.approx(min(losses), abs=1e-4)


def test_weights_that_only_get_worse_leave_those_it_started_from(
    bundle: Path, data: Path, monai_run, tmp_path: Path
) -> None:
    settings = {
        "ckpt_dir": str(tmp_path / "models"), "train::trainer::max_epochs": 1,
        "learning_rate": 50.0,
    }  # fmt: skip
    monai_run(bundle, data, tmp_path / "out", "train.json", **settings)
    before = torch.load(bundle / "models" / "model.pt", weights_only=True)
    after = torch.load(tmp_path / "models" / "model_candidate.pt", weights_only=True)
    assert all(torch.equal(before[name].float(), after[name].float()) for name in before)


def test_labels_weigh_as_in_training_and_can_be_smoothed(
    labels_request, data: Path, tmp_path: Path
) -> None:
    from monai.bundle.config_parser import ConfigParser

    given = {"none": None, "balanced": weights_of(truth_of(data / "train")), (1.0, 2.0, 3.0): None}
    given[1.0, 2.0, 3.0] = torch.tensor([1.0, 2.0, 3.0])
    for weights, expected in given.items():
        request = replace(labels_request, name="w", graphs=False, label_weights=weights)
        root = write_bundle(request, tmp_path)
        parser = ConfigParser(ConfigParser.load_config_file(root / "configs" / "train.json"))
        parser["bundle_root"], parser["device"], parser["dataset_dir"] = str(root), "cpu", str(data)
        parser["loss::smoothing"] = 0.1
        loss = parser.get_parsed_content("loss")
        found, smoothing = loss.weights, loss.smoothing
        assert smoothing == 0.1
        assert (found is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(found, expected)
    counts = truth_of(data / "train").nan_to_num(-1)
    torch.testing.assert_close(positive_weights(counts), given["balanced"])


def test_an_unknown_answer_changes_neither_loss_nor_gradient() -> None:
    truth = torch.tensor([[1.0, 0.0, UNKNOWN], [UNKNOWN, 1.0, UNKNOWN]])
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    moved = torch.where(truth.isnan(), 9.0, logits.detach()).requires_grad_()
    loss = LabelLoss(torch.tensor([1.0, 2.0, 3.0]))
    first, second = loss(logits, truth), loss(moved, truth)
    (first + second).backward()
    torch.testing.assert_close(first, second)
    assert (logits.grad[truth.isnan()] == 0).all()
    assert (moved.grad[truth.isnan()] == 0).all()
    known = torch.where(truth.isnan(), 0.0, truth)
    assert not torch.isclose(loss(logits, known), first)


def test_metrics_are_those_of_medfuse_evaluate() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 2, (40, 4))
    truth[:, 3] = 1  # a label of which one answer never occurs
    chances = rng.random((40, 4)).round(2)
    limits = (0.4, 0.5, float(chances[0, 2]), 0.5)
    names = ("a", "b", "c", "d")
    given = LabelPredictions(truth, chances, names, thresholds=limits)
    overall = evaluate_labels(given, EvaluationSettings(bootstrap=0))["overall"]
    expected = {
        "accuracy": 1 - overall["hamming_loss"]["value"],
        "auroc": overall["auroc_macro"]["value"],
        "sensitivity": overall["recall_macro"]["value"],
        "precision": overall["precision_macro"]["value"],
        "f1": overall["f1_macro"]["value"],
    }
    found = {}
    for name in MEASURES:
        metric = LabelMetric(name, limits)
        answers = torch.tensor(np.where(truth < 0, np.nan, truth))
        for rows in (slice(0, 25), slice(25, 40)):
            metric(list(torch.tensor(chances)[rows]), list(answers[rows]))
        found[name] = metric.aggregate()
    assert found == pytest.approx(expected, abs=1e-6)


def test_evaluating_writes_metrics_and_the_true_answers(
    bundle: Path, data: Path, monai_run, read_table, tmp_path: Path
) -> None:
    monai_run(bundle, data / "val", tmp_path, "evaluate.json")
    rows, truth = read_table(tmp_path / "predictions.csv"), truth_of(data / "val")
    cells = [[row[f"true_{name}"] for name in LABELS] for row in rows]
    assert cells == [["" if np.isnan(x) else str(int(x)) for x in row] for row in truth.tolist()]
    lines = (tmp_path / "metrics.csv").read_text().split()
    found = {name: float(value) for name, value in (line.split(",") for line in lines)}
    assert list(found) == list(MEASURES)
    config = json.loads((bundle / "configs" / "evaluate.json").read_text())
    assert config["key_metric"]["accuracy"]["metric_fn"]["thresholds"] == list(THRESHOLDS)
    chances, known = chances_of(rows), ~truth.isnan()
    said = chances >= torch.tensor(THRESHOLDS)
    right = float((said == truth.bool())[known].float().mean())
    areas = [
        roc_auc_score(truth[known[:, k], k], chances[known[:, k], k]) for k in range(len(LABELS))
    ]
    assert found["accuracy"] == pytest.approx(right, abs=1e-4)
    assert found["auroc"] == pytest.approx(np.mean(areas), abs=1e-4)


def test_metrics_of_nothing_that_can_be_measured_are_undefined() -> None:
    metric = LabelMetric("auroc")
    metric([torch.tensor([0.2, 0.7])], [torch.tensor([1.0, UNKNOWN])])
    assert np.isnan(metric.aggregate())
    with pytest.raises(ValueError, match="found 'auc', expected one of accuracy"):
        LabelMetric("auc")


def test_a_table_is_read_with_its_unknown_answers(tmp_path: Path, caplog) -> None:
    folder = write_table(
        tmp_path / "t",
        [["a.png", "1", "", "0.0", "p1"], ["a.png", " 0 ", "1.0", "", "p2"]],
        ["image", *LABELS, "patient_id"],
    )
    (folder / "a.png").write_bytes(b"")
    first, second = list_answered_images(folder, LABELS)
    assert first["image"] == str(folder / "a.png")
    np.testing.assert_equal(first["label"], [1.0, UNKNOWN, 0.0])
    np.testing.assert_equal(second["label"], [0.0, 1.0, UNKNOWN])
    assert "columns passed over, no labels: patient_id" in caplog.text


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (
            ["image", "efusion", *LABELS[1:]], ["a.png", "1", "0", ""],
            r"labels.csv: found the columns image, efusion, .* no column 'effusion', expected "
            r"image, effusion, .* Name the columns so",
        ),
        (["file", *LABELS], ["a.png", "1", "0", ""], "no column 'image', expected image, effusion"),
        (["image", *LABELS, LABELS[2]], ["a.png", "1", "0", "", "1"], "twice column 'opacity'"),
        (
            None, ["a.png", "1", "2", ""],
            r"labels.csv, row 1, column 'No, finding': found '2', expected 1 or 0, or blank for "
            r"unknown. Mend the cell",
        ),
        (None, ["a.png", "1", "-1", ""], "found '-1', expected 1 or 0, or blank"),
        (None, ["a.png", "1", "0"], "labels.csv, row 1: found more or fewer cells .* Mend the row"),
        (None, ["a.png", "1", "0", "", "1"], "row 1: found more or fewer cells than"),
        (None, ["a.png", "", "", ""], "labels.csv: found no known answer, expected 1 or 0"),
        (None, ["b.png", "1", "0", ""], "row 1: its image is not there, expected a path relative"),
        (None, ["", "1", "0", ""], "row 1: its image is not there"),
    ],
)  # fmt: skip
def test_a_table_with_a_wrong_column_or_value_is_refused(
    header: list[str] | None, row: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    write_table(tmp_path, [row], header)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list_answered_images(tmp_path, LABELS)
    assert str(tmp_path / "labels.csv") in str(caught.value)


def test_a_folder_without_a_table_or_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"labels.csv: no such file, expected a table with"):
        list_answered_images(tmp_path, LABELS)
    write_table(tmp_path, [])
    with pytest.raises(FileNotFoundError, match="no input images in .*labels.csv"):
        list_answered_images(tmp_path, LABELS)


def test_training_says_what_is_wrong_with_a_table(
    bundle: Path, data: Path, monai_run, tmp_path: Path
) -> None:
    shutil.copytree(data / "val", tmp_path / "val")
    write_table(shutil.copytree(data / "train", tmp_path / "train"), [[FIRST, "1", "maybe", ""]])
    with pytest.raises(RuntimeError) as caught:
        monai_run(bundle, tmp_path, tmp_path / "out", "train.json")
    assert "found 'maybe', expected 1 or 0" in str(caught.getrepr(chain=True))


@pytest.mark.parametrize("given", ["label.json", [1.0, 0.0]])
def test_answers_that_are_none_of_a_case_are_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"found (a file|2 answers), expected answers to 3 labels"):
        LabelAnswersd("label", 3)({"label": given})


def test_a_label_called_image_leaves_no_column_for_the_images(labels_request) -> None:
    request = replace(labels_request, classes=("image", *LABELS[1:]))
    assert why_not_trainable(request) == (
        "a label is called image, as the column of the images in its table"
    )


def test_the_card_names_the_columns_and_monai_label_refuses(bundle: Path, tmp_path: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert card.count("`effusion`, `No, finding`, `opacity`, each cell 1, 0, or blank") == 2
    assert "Both answers of a label weigh the same" in card
    assert "/<class>/" not in card
    done = export_bundle(bundle, "label", tmp_path / "app")
    reason = "a label of MONAI Label names one class, here a case may have several"
    assert done.remarks == (f"it serves, but cannot be trained: {reason}",)
    assert ServedBundle(next((tmp_path / "app" / "model").iterdir())).not_trainable == reason


@pytest.mark.slow
def test_it_passes_every_check_of_verify(bundle: Path, repository: Path) -> None:
    report = verify_bundle(bundle)
    assert [check for check in report.checks if check.status == "failed"] == []
    details = {check.name: check.detail for check in report.checks}
    assert details["labelled_run"] == f"4 rows, and {', '.join(MEASURES)}"
    assert details["train_properties"] == "train.json has all ids MONAI expects"
    assert details["multi_gpu_properties"].startswith("multi_gpu_train.json has all ids")


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_train_one_candidate(
    bundle: Path, data: Path, repository: Path, tmp_path: Path
) -> None:
    page = (repository / "docs" / "bundles.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^torchrun (.*)$", page, re.MULTILINE)
    asked = [word.replace("B/", f"{bundle}/") for word in shlex.split(line)]
    asked[asked.index("B")], asked[asked.index("data")] = str(bundle), str(data)
    further = [
        "--ckpt_dir", str(tmp_path / "models"), "--train::trainer::max_epochs", "2",
        "--batch_size", "4", "--learning_rate", "0.01",
    ]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", *asked, *further]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Epoch: 2/2, Iter: 3/3" in done.stdout + done.stderr
    before = torch.load(bundle / "models" / "model.pt", weights_only=True)
    after = torch.load(tmp_path / "models" / "model_candidate.pt", weights_only=True)
    assert {n for n in before if not torch.equal(before[n].float(), after[n].float())} == HEAD
    document = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert not any("train" in name for name in document["medfuse"]["left_out"])
