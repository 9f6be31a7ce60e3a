"""``evaluate.json`` and ``multi_gpu_train.json`` under MONAI's own program."""

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
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from medfuse.bundle import write as write_module
from medfuse.bundle.write import write_bundle

CLASSES = ("normal", "pneumonia", "Covid-19")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, write_ward) -> Path:
    """Five, four and three images in the class folders."""
    folder = tmp_path_factory.mktemp("labelled")
    for number, name in enumerate(CLASSES):
        write_ward(folder / name, 5 - number, seed=number)
    return folder


def metrics_of(out: Path) -> dict[str, float]:
    lines = (out / "metrics.csv").read_text().split()
    return {name: float(value) for name, value in (line.split(",") for line in lines)}


@pytest.fixture(scope="module")
def measured(bundle: Path, labelled: Path, monai_run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("measured")
    monai_run(bundle, labelled, out, "evaluate.json")
    return out


def test_metrics_are_those_of_scikit_learn(measured: Path, read_table) -> None:
    rows = read_table(measured / "predictions.csv")
    assert len(rows) == 12
    truth = [CLASSES.index(row["label"]) for row in rows]
    answer = [CLASSES.index(row["predicted"]) for row in rows]
    chances = np.array([[float(row[f"prob_{name}"]) for name in CLASSES] for row in rows])
    found = metrics_of(measured)
    assert 0 < found["accuracy"] < 1
    expected = {
        "accuracy": accuracy_score(truth, answer),
        "sensitivity": recall_score(truth, answer, average="macro"),
        "auroc": np.mean([roc_auc_score(np.array(truth) == k, chances[:, k]) for k in range(3)]),
        "precision": precision_score(truth, answer, average="macro", zero_division=0),
        "f1": f1_score(truth, answer, average="macro", labels=range(3)),
    }
    assert found == pytest.approx(expected, abs=1e-4)


def test_rows_say_what_inference_says_and_which_class_it_was(
    bundle: Path, labelled: Path, measured: Path, read_table, run_rows, tmp_path: Path
) -> None:
    rows = read_table(measured / "predictions.csv")
    assert [row["image"].partition("/")[0] for row in rows] == [row["label"] for row in rows]
    plain = {row["image"]: row for row in run_rows(bundle, labelled, tmp_path / "plain")}
    for row in rows:
        for name in CLASSES:
            expected = float(plain[row["image"]][f"prob_{name}"])
            assert float(row[f"prob_{name}"]) == pytest.approx(expected, abs=1e-6)


def test_a_table_of_labels_stands_for_class_folders(
    bundle: Path, labelled: Path, measured: Path, monai_run, read_table, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(labelled, data / "all")
    with (data / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label"])
        for image in sorted((data / "all").rglob("*.png")):
            writer.writerow([image.relative_to(data), image.parent.name])
    monai_run(bundle, data, tmp_path / "out", "evaluate.json")
    assert metrics_of(tmp_path / "out") == pytest.approx(metrics_of(measured), abs=1e-6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,flu", "labels.csv, row 1: label is 'flu', expected one of normal, pneumonia"),
        ("b.png,normal", "labels.csv, row 1: its image is not there"),
        ("", "no input images"),
    ],
)
def test_a_table_that_names_no_class_or_image_is_refused(
    bundle: Path, labelled: Path, monai_run, tmp_path: Path, row: str, message: str
) -> None:
    shutil.copy(next(labelled.rglob("*.png")), tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(f"image,label\n{row}\n")
    with pytest.raises(RuntimeError) as caught:
        monai_run(bundle, tmp_path, tmp_path / "out", "evaluate.json")
    assert message in str(caught.getrepr(chain=True))


def test_missing_weights_are_an_error_there_too(
    bundle: Path, labelled: Path, monai_run, tmp_path: Path
) -> None:
    with pytest.raises((FileNotFoundError, RuntimeError)):
        monai_run(bundle, labelled, tmp_path, "evaluate.json", ckpt_path=str(tmp_path / "no.pt"))
    assert "_disabled_" not in (bundle / "configs" / "evaluate.json").read_text()


def test_bundles_that_cannot_be_trained_have_neither_and_say_why(
    request_, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(write_module, "write_onnx", lambda *_: 0.0)
    only = ("head x: no recipe",)
    root = write_bundle(replace(request_, network_node=None, graph_only=only), tmp_path)
    document = json.loads((root / "configs" / "metadata.json").read_text())
    for name in ("train.json", "multi_gpu_train.json", "evaluate.json"):
        assert not (root / "configs" / name).exists()
        assert "head x: no recipe" in document["medfuse"]["left_out"][f"configs/{name}"]


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_train_one_candidate(
    bundle: Path, labelled: Path, repository: Path, tmp_path: Path
) -> None:
    """Of 12 images each of two processes sees 6, and both end with the same weights."""
    for part in ("train", "val"):
        shutil.copytree(labelled, tmp_path / "data" / part)
    page = (repository / "docs" / "bundles.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^torchrun (.*)$", page, re.MULTILINE)
    asked = [word.replace("B/", f"{bundle}/") for word in shlex.split(line)]
    asked[asked.index("B")], asked[asked.index("data")] = str(bundle), str(tmp_path / "data")
    further = [
        "--ckpt_dir", str(tmp_path / "models"), "--train::trainer::max_epochs", "2",
        "--batch_size", "3", "--learning_rate", "0.01",
    ]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", *asked, *further]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["model_candidate.pt"]
    before = torch.load(bundle / "models" / "model.pt", weights_only=True)
    after = torch.load(tmp_path / "models" / "model_candidate.pt", weights_only=True)
    assert list(after) == list(before)  # bare, without the names of DistributedDataParallel
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.head.linear.weight", "classifier.head.linear.bias"}
    assert "Epoch: 2/2, Iter: 2/2" in done.stdout + done.stderr
