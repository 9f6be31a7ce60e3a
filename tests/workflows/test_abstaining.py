"""Abstention from the run into its bundle, and out of `predict` and of MONAI."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import run as monai_run
from PIL import Image

from medfuse.data import read_split
from medfuse.evaluation import read_predictions
from medfuse.evaluation.feature_distance import DISTANCES, load_distances
from medfuse.serving.predict import load_bundle
from medfuse.workflows.evaluate import evaluate
from medfuse.workflows.train import TrainingOutcome

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mixed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images like those that were learned from, and noise."""
    folder = tmp_path_factory.mktemp("mixed")
    for number, file in enumerate(sorted((images / "nodule").glob("*.png"))[:2]):
        (folder / f"{number}.png").write_bytes(file.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    return folder


def monai_table(bundle: Path, images: Path, out: Path, *configs: str) -> list[dict[str, str]]:
    files = [str(bundle / "configs" / name) for name in ("inference.json", *configs)]
    monai_run(
        config_file=files,
        bundle_root=str(bundle),
        dataset_dir=str(images),
        output_dir=str(out),
        device="cpu",
        logging_file=False,
    )
    with (out / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.filterwarnings("ignore:parsing config_file")
@pytest.mark.parametrize("configs", [(), ("inference_ts.json",)])
def test_monai_abstains_as_medfuse_does_by_code_and_by_graph(
    finished_run: TrainingOutcome, mixed: Path, tmp_path: Path, configs: tuple[str, ...]
) -> None:
    rows = monai_table(finished_run.bundle, mixed, tmp_path / "out", *configs)
    found = load_bundle(finished_run.bundle).predict([str(mixed / row["image"]) for row in rows])
    for row, one in zip(rows, found, strict=True):
        assert (row["status"], row["reason_code"]) == (one.status, one.reason_code)
        assert row["predicted"] == one.predicted
        assert row["set"] == ";".join(one.conformal_set)
        assert float(row["distance"]) == pytest.approx(max(one.distances.values()), rel=1e-4)
    noise = found[[row["image"] for row in rows].index("noise.png")]
    assert (noise.status, noise.reason_code) == ("abstained", "OUT_OF_DISTRIBUTION")
    assert noise.predicted == ""
    assert sum(noise.probabilities.values()) == pytest.approx(1.0)
    assert "times as far from the training cases as its limit" in noise.reason


def test_predict_judges_as_the_run_did(finished_run: TrainingOutcome, images: Path) -> None:
    rows, classes = read_predictions(finished_run.folder / "predictions.csv")
    tested = [row for row in rows if row.role == "test"]
    cohort, _ = read_split(finished_run.folder / "cohort.csv")
    files = {case.case_id: str(images / case.inputs["image"]) for case in cohort.cases}
    found = load_bundle(finished_run.bundle).predict([files[row.case_id] for row in tested])
    assert len(tested) >= 10
    for row, one in zip(tested, found, strict=True):
        assert (row.status, row.reason_code) == (one.status, one.reason_code)
        assert tuple(row.conformal_set) == one.conformal_set
        assert row.distances == pytest.approx(dict(one.distances), rel=1e-3)
        assert set(row.conformal_set) <= set(classes)


def test_a_policy_without_abstention_still_tells_the_distance(
    finished_run: TrainingOutcome,
    mixed: Path,
    tmp_path: Path,
    edited: Callable[..., Path],
) -> None:
    bundle = edited(finished_run.bundle, tmp_path, out_of_distribution=False)
    found = load_bundle(bundle).predict([str(mixed / "noise.png")])[0]
    assert (found.status, found.reason_code) == ("ok", "")
    assert max(found.distances.values()) > 1


def test_low_confidence_and_large_sets_are_policies_of_the_bundle(
    finished_run: TrainingOutcome, mixed: Path, tmp_path: Path, edited: Callable[..., Path]
) -> None:
    image = str(mixed / "0.png")
    unsure = edited(finished_run.bundle, tmp_path / "a", confidence=0.999)
    assert load_bundle(unsure).predict([image])[0].reason_code == "LOW_CONFIDENCE"
    large = edited(finished_run.bundle, tmp_path / "b", set_limits=[2.0] * 3, largest_set=2)
    found = load_bundle(large).predict([image])[0]
    assert found.reason_code == "AMBIGUOUS_SET"
    assert len(found.conformal_set) == 3


@pytest.fixture
def edited() -> Callable[..., Path]:
    """Return a maker of bundles whose policy says something else."""
    import shutil

    from medfuse.bundle.digests import write_digests

    def edit(bundle: Path, folder: Path, **policy: object) -> Path:
        copied = Path(shutil.copytree(bundle, folder / bundle.name))
        file = copied / "configs" / "inference.json"
        config = json.loads(file.read_text())
        config["abstention"] |= policy
        file.write_text(json.dumps(config))
        write_digests(copied)
        return copied

    return edit


def test_a_case_without_an_input_is_judged_by_the_sources_that_see_it(
    run_with_table: TrainingOutcome,
) -> None:
    rows, _ = read_predictions(run_with_table.folder / "predictions.csv")
    sources = load_distances(run_with_table.folder / DISTANCES).labels
    seen = {tuple(sorted(row.distances)) for row in rows}
    assert seen == {tuple(sorted(sources)), (sources[0],), (sources[1],)}


def test_evaluate_measures_what_was_answered_and_what_was_not(
    finished_run: TrainingOutcome, mixed: Path, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort"
    for name in ("clear", "nodule"):
        (cohort / name).mkdir(parents=True)
    for number in range(2):
        (cohort / "nodule" / f"{number}.png").write_bytes((mixed / f"{number}.png").read_bytes())
    (cohort / "clear" / "noise.png").write_bytes((mixed / "noise.png").read_bytes())
    outcome = evaluate(finished_run.bundle, cohort, tmp_path / "out")
    assert outcome.refused == 0
    assert outcome.metrics["cases"] == 3
    groups = outcome.metrics["groups"]["answer"]
    assert (groups["given"]["cases"], groups["abstained"]["cases"]) == (2, 1)
    rows, _ = read_predictions(outcome.folder / "predictions.csv")
    noise = next(row for row in rows if "noise" in row.case_id)
    assert (noise.status, noise.predicted) == ("abstained", "")
    assert max(noise.distances.values()) > 1
    trust = outcome.metrics["trust"]
    assert trust["abstained"] == {"OUT_OF_DISTRIBUTION": 1}
    beyond = {name: 1 for name, far in sorted(noise.distances.items()) if far > 1}
    assert trust["beyond_limit"] == beyond
    page = (outcome.folder / "report.html").read_text()
    assert "1 (33.3%)" in page
    assert "95% of cases like the training cases" in page
    assert "had it been asked for one" in page


def test_reasons_that_several_labels_cannot_give_are_refused_before_training(
    tmp_path: Path,
) -> None:
    from medfuse.errors import ConfigError
    from medfuse.workflows.train import train

    rows = ["case_id,patient_id,image,a,b"]
    for number in range(12):
        pixels = np.full((48, 48), 20 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"c{number},p{number},{number}.png,{number % 2},{number % 3 // 2}")
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    experiment = {
        "cohort": {"path": str(tmp_path / "cases.csv"), "label": ["a", "b"]},
        "sources": ["timm:test_resnet.random"],
        "head": "multilabel",
        "evaluation": {"abstain": {"confidence": 0.8}},
    }
    with pytest.raises(ConfigError, match=r"confidence and largest_set are of classes"):
        train(experiment, tmp_path / "run", progress=False)


def test_the_report_tells_how_often_it_abstained_and_when_its_sets_hold(
    finished_run: TrainingOutcome,
) -> None:
    trust = finished_run.metrics["trust"]
    rows, _ = read_predictions(finished_run.folder / "predictions.csv")
    tested = [row for row in rows if row.role == "test"]
    strange = [row for row in tested if row.reason_code == "OUT_OF_DISTRIBUTION"]
    assert trust["abstained"].get("OUT_OF_DISTRIBUTION", 0) == len(strange)
    inside = np.mean([row.label in row.conformal_set for row in tested])
    assert trust["sets"]["coverage"] == pytest.approx(inside)
    errors = np.mean([row.label != max_class(row.probabilities) for row in tested])
    assert trust["selective"]["risk"][-1] == pytest.approx(errors)
    page = (finished_run.folder / "report.html").read_text()
    assert "Sets made to hold the true class in 90% of cases" in page
    assert "close in practice but not proven (cross-conformal)" in page
    for name in ("distances.png", "risk_coverage.png"):
        assert (finished_run.folder / "plots" / name).stat().st_size > 0


def max_class(probabilities: Sequence[float]) -> str:
    return ("clear", "effusion", "nodule")[int(np.argmax(probabilities))]
