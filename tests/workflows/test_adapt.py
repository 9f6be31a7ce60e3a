"""Training for images from elsewhere: what moves, what stays, and what the bundle gains there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medfuse.bundle.seen import ADAPTATION, read_seen
from medfuse.config import load_experiment, parse_experiment
from medfuse.errors import ConfigError, EvaluationError, MedfuseError
from medfuse.features.bank import FeatureBank
from medfuse.registry import load_registry
from medfuse.serving.predict import load_bundle
from medfuse.workflows.adapt import adapt
from medfuse.workflows.extract import ExtractedFeatures, extract, load_networks
from medfuse.workflows.prepare import prepare_cohort
from medfuse.workflows.target_cases import TargetReader
from medfuse.workflows.train import train
from medfuse.workflows.validate import validate

Made = tuple[TargetReader, ExtractedFeatures]
LEARNED = ("train", "validation", "calibration")


def experiment(images: Path, method: str, target: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "adapted",
        "cohort": {"path": str(images), "group_pattern": r"p(\d+)_"},
        "inputs": {"image": {"modality": "XR", "size": [48, 48], "intensity": "range"}},
        "adaptation": {"method": method, "target": str(target)},
        "augmentation": {"views": 0},
        "sources": ["mini:resnet.distilled"],
        "fusion": "concat",
        "training": {"epochs": 6, "members": 2},
        "evaluation": {"bootstrap": 20, "baselines": False},
        **changes,
    }


@pytest.fixture(scope="module")
def faint(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as another scanner shows them: brighter, with less contrast; no label."""
    folder = tmp_path_factory.mktemp("target")
    for file in images.rglob("*.png"):
        pixels = 90 + 0.5 * np.asarray(Image.open(file)).astype(float)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{file.parent.name}_{file.name}")
    return folder


@pytest.fixture(scope="module")
def made(images: Path, shared_bank: Path, faint: Path) -> Made:
    config = parse_experiment(experiment(images, "coral", faint))
    bank, registry = FeatureBank(str(shared_bank)), load_registry()
    prepared = prepare_cohort(config, bank, progress=False)
    read = {name: found.config for name, found in prepared.inputs.items()}
    networks = load_networks(config, registry, read)
    features = extract(config, prepared, networks, bank, progress=False)
    return TargetReader(config, registry, prepared, bank, progress=False), features


def adapted(made: Made, method: str) -> tuple[ExtractedFeatures, dict[str, Any], np.ndarray]:
    reader, features = made
    config = reader.experiment.adaptation
    assert config is not None
    found, told = adapt(reader, config.model_copy(update={"method": method}), features)
    learned = np.array([case.role in LEARNED for case in reader.prepared.cohort.cases])
    return found, dict(told.facts), learned


@pytest.mark.parametrize("method", ["coral", "standardize"])
def test_only_the_cases_learned_from_are_moved_to_the_target(made: Made, method: str) -> None:
    found, facts, learned = adapted(made, method)
    before, after = made[1].values[0], found.values[0]
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after[~learned], before[~learned])
    assert np.abs(after[learned] - before[learned]).mean() > 0.01
    assert (facts["cases"], facts["shared"]) == (60, 0)
    gap = facts["sources"]["mini:resnet.distilled"]
    assert gap["before"] > 0.5
    assert gap["after"] < 1e-3
    assert found.sources == made[1].sources


@pytest.mark.slow
def test_adabn_changes_the_networks_and_what_test_cases_are_seen_as(made: Made) -> None:
    found, facts, learned = adapted(made, "adabn")
    before, after = made[1].values[0], found.values[0]
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after[learned], before[learned])
    assert not np.allclose(after[~learned], before[~learned])
    own, other = made[1].sources[0], found.sources[0]
    assert other.identity != own.identity
    assert other.card["batch_norm"] == "statistics of 60 images of a target cohort"
    kept, changed = own.module.state_dict(), other.module.state_dict()
    differ = {name for name in kept if not torch.equal(kept[name], changed[name])}
    assert differ
    assert all(name.rpartition(".")[2].startswith(("running_", "num_")) for name in differ)
    assert facts["method"] == "adabn"


def test_a_site_of_one_case_is_no_site_to_standardize(made: Made) -> None:
    from dataclasses import replace

    reader, features = made
    first, *rest = reader.prepared.cohort.cases
    alone = replace(first, site="alone", role="train")
    cohort = reader.prepared.cohort.with_cases([alone, *rest])
    lonely = replace(reader, prepared=replace(reader.prepared, cohort=cohort))
    with pytest.raises(EvaluationError, match="adaptation by standardization by site: a site"):
        adapted((lonely, features), "standardize")


def _learns(given: dict[str, Any]) -> None:
    given["sources"] = [{"use": "mini:resnet.distilled", "train": "last:1"}]


def _absent(given: dict[str, Any]) -> None:
    given["adaptation"]["target"] += "/nowhere"


def _normless(given: dict[str, Any]) -> None:
    given["sources"] = ["timm:test_convnext.random"]
    given["adaptation"]["method"] = "adabn"


def _unknown(given: dict[str, Any]) -> None:
    given["adaptation"]["method"] = "dann"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_learns, "source mini:resnet.distilled learns, but features are adapted once"),
        (_absent, "nowhere is not there, expected a folder of images"),
        (_normless, "no source has a batch norm"),
        (_unknown, "adaptation.method: found 'dann', expected coral, standardize or adabn"),
    ],
)
def test_what_cannot_be_adapted_is_refused(
    images: Path,
    faint: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    text: str,
) -> None:
    given = experiment(images, "coral", faint)
    change(given)
    with pytest.raises(ConfigError, match=text):
        train(given, tmp_path / "run", progress=False)


def test_a_site_held_out_is_no_target(images: Path, faint: Path, tmp_path: Path) -> None:
    with pytest.raises(MedfuseError, match="each site is held out as one that nothing is known of"):
        validate(experiment(images, "coral", faint), tmp_path / "sites", progress=False)


def test_a_relative_target_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "cohort: {path: a}\nsources: [mini:resnet]\nadaptation: {method: coral, target: b}\n"
    )
    found = load_experiment(tmp_path / "x.yaml").adaptation
    assert found is not None
    assert found.target == str(tmp_path / "b")


@pytest.mark.slow
def test_the_bundle_is_right_at_the_target_and_says_what_it_has_seen(
    images: Path, shared_bank: Path, faint: Path, tmp_path: Path
) -> None:
    bank = {"path": str(shared_bank)}
    outcome = train(experiment(images, "coral", faint, bank=bank), tmp_path / "run", progress=False)
    predictor = load_bundle(outcome.bundle, "cpu")
    files = sorted(faint.iterdir())
    said = [p.predicted for p in predictor.predict([str(file) for file in files])]
    truth = [file.name.split("_p")[0] for file in files]
    right = np.mean(np.array(said) == np.array(truth))
    assert right > 0.6, "by chance a third; without adaptation not more"
    assert outcome.metrics["adaptation"]["method"] == "coral"
    assert outcome.metrics["bundle"]["difference"] < 1e-5
    page = outcome.report.read_text(encoding="utf-8")
    for text in ("Adaptation to another cohort", "of a target cohort, without their labels: metr"):
        assert text in page
    assert len(read_seen(outcome.bundle)[ADAPTATION]) == len(files)
    metadata = json.loads((outcome.bundle / "configs" / "metadata.json").read_text())
    assert metadata["medfuse"]["details"]["adaptation"]["cases"] == len(files)
    assert "without their labels" in metadata["data_source"]
    assert str(faint) not in json.dumps(metadata)
    assert f"target: {faint}" in (outcome.folder / "config.yaml").read_text()


@pytest.mark.slow
def test_networks_with_other_statistics_live_in_the_bundle_though_no_case_is_left_to_test(
    images: Path, shared_bank: Path, faint: Path, made: Made, tmp_path: Path
) -> None:
    cohort = {"path": str(images), "group_pattern": r"p(\d+)_", "split": {"test": 0}}
    given = experiment(images, "adabn", faint, cohort=cohort, bank={"path": str(shared_bank)})
    outcome = train(given, tmp_path / "run", progress=False)
    assert outcome.metrics["bundle"]["difference"] < 1e-5
    found, _, _ = adapted(made, "adabn")
    weights = torch.load(outcome.bundle / "models" / "model.pt", weights_only=True)
    for name, value in found.sources[0].module.state_dict().items():
        torch.testing.assert_close(weights[f"sources.0.{name}"], value)
    assert len(read_seen(outcome.bundle)["mini:resnet.distilled"]) >= len(list(faint.iterdir()))
