"""What is wrong is said before any image is read, and nothing is left behind."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from medfuse.cli.train import add_arguments, experiment_of
from medfuse.config import parse_experiment
from medfuse.errors import BundleError, MedfuseError
from medfuse.registry import load_registry
from medfuse.workflows import settle
from medfuse.workflows.licensing import check_licenses
from medfuse.workflows.phantoms import write_phantoms
from medfuse.workflows.preflight import check_experiment
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import experiment_with_table, small_experiment, table_of

LATE = {"after": 2, "train": "last:1"}
METRIC = """
from medfuse.contract import MetricSpec, hookimpl
@hookimpl
def medfuse_metrics():
    yield MetricSpec(name="kappa", summary="s", factory="module_that_is_not_there:make")
"""
FUSION = """
from medfuse.contract import FeatureFusionSpec, hookimpl
@hookimpl
def medfuse_fusions():
    yield FeatureFusionSpec(name="picky", summary="s", factory="acme_net:Picky")
"""
PICKY = """
from torch import nn
class Picky(nn.Module):
    def __init__(self, in_dims):
        raise ValueError(f"no place for {in_dims[0]} numbers")
"""


def source(**changes: Any) -> dict[str, Any]:
    return {"sources": [{"use": "timm:test_resnet.random", **changes}]}


@pytest.fixture
def no_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an image is read")

    monkeypatch.setattr(settle, "resolve_known", refuse)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "atention"}, "unknown name 'atention'.*Did you mean \"attention\""),
        ({"fusion": {"use": "attention", "heads": 3}}, "heads: 3.* not a multiple of heads 3"),
        ({"fusion": {"use": "attention", "heads": 0}}, "option 'heads' is 0, expected int, 1 to"),
        ({"fusion": {"use": "gated", "hiden": 3}}, "unknown option 'hiden'.*\"hidden\""),
        (
            {"fusion": {"use": "average", "width": 3}},
            "unknown option 'width', expected one of: none",
        ),
        ({"head": "mpl"}, 'Did you mean "mlp"'),
        (
            {"head": {"use": "mlp", "dropout": 2}},
            "option 'dropout' is 2, expected float, 0 to 0.95",
        ),
        ({"head": "sigmoid"}, "one logit for 2 classes, found 3 classes"),
        ({"training": {"class_weights": [1, 2]}}, "class_weights has 2 numbers, expected 3"),
        ({"training": {"device": "cuda:9"}}, "training.device: found 'cuda:9', expected auto, cpu"),
        (source(use="timm:resnt18.random"), "no backbone 'resnt18'. Did you mean"),
        (source(use="mini:resnet.imagenet"), "no weights 'imagenet'"),
        (source(use="tim:resnet18"), "no plugin 'tim'.*Did you mean \"timm\""),
        (source(use="timm:test_resnet@absent.pt"), "absent.pt: no such weights file"),
        (source(use="timm:resnet18.a1_in1k"), "weights are not on this machine.*--download"),
        (source(use="tabular"), "its input 'image' is an image"),
        (source(train="last:99"), "train: last:99, but test_resnet has"),
        (source(train="from:layer"), "no stage 'layer'.*layer1, layer2, layer3, layer4.*Did you"),
        (source(unfreeze={"after": 1, "train": "last:99"}), "train: last:99, but test_resnet has"),
        (source(unfreeze=LATE), r"sources\.0\.unfreeze\.0\.after is 2, but training\.epochs is 2"),
        (source(options={"model": "vit"}), "option 'model' is 'vit', expected test_resnet"),
        (source(sha256="0" * 64), "random loads no weights, but found sha256"),
        (
            source(license="CC-BY-NC-4.0"),
            r"sources\.0, timm:test_resnet\.random: license CC-BY-NC-4\.0 forbids commercial use.*"
            r"--accept-license CC-BY-NC-4\.0",
        ),
        (
            {"bundle": {"codes": {"nodul": {"value": "1", "scheme": "SCT", "meaning": "x"}}}},
            "bundle.codes: 'nodul' is no class",
        ),
        ({"cohort": {"split": {"test": 0.9}}}, "test, validation and calibration take 1.05"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_refused_before_any_image_is_read_and_nothing_is_left(
    changes: dict[str, Any],
    message: str,
    images: Path,
    tmp_path: Path,
    no_image_is_read: None,
) -> None:
    experiment = small_experiment(images)
    cohort = {**experiment["cohort"], **changes.pop("cohort", {})}
    with pytest.raises(MedfuseError, match=message):
        train({**experiment, "cohort": cohort, **changes}, tmp_path / "run", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_class_name_that_no_bundle_can_hold_is_refused_first(
    tmp_path: Path, no_image_is_read: None
) -> None:
    cohort = write_phantoms(tmp_path / "images", 3)
    (cohort / "clear").rename(cohort / "background")
    with pytest.raises(MedfuseError, match="background"):
        train(small_experiment(cohort), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ["timm:test_resnet.random", {"use": "mini:resnet", "input": "clinic"}]},
         "reads images, but its input 'clinic' is tabular"),
        ({"sources": ["timm:test_resnet.random",
                      {"use": "tabular", "input": "clinic", "train": "all"}]},
         "found train, unfreeze, cut or options"),
    ],
)  # fmt: skip
def test_source_of_a_table_is_checked_first(
    changes: dict[str, Any], message: str, images: Path, tmp_path: Path, no_image_is_read: None
) -> None:
    table = table_of(images, tmp_path / "cases.csv")
    with pytest.raises(MedfuseError, match=message):
        train(experiment_with_table(table, **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_input_name_that_no_bundle_can_hold_is_refused_first(
    images: Path, tmp_path: Path, no_image_is_read: None
) -> None:
    experiment = experiment_with_table(table_of(images, tmp_path / "cases.csv"))
    experiment["inputs"]["lab values"] = experiment["inputs"].pop("clinic")
    experiment["sources"][1]["input"] = "lab values"
    with pytest.raises(MedfuseError, match="inputs are .*'lab values'"):
        train(experiment, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_metric_of_a_plugin_that_cannot_be_imported_is_named_first(
    install_plugin: Any, images: Path, tmp_path: Path, no_image_is_read: None
) -> None:
    install_plugin("acme", METRIC)
    with pytest.raises(MedfuseError, match="kappa.*module_that_is_not_there"):
        train(small_experiment(images), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_fusion_of_a_plugin_is_tried_on_the_features_there_are(
    install_plugin: Any, images: Path, tmp_path: Path
) -> None:
    install_plugin("acme", FUSION, acme_net=PICKY)
    experiment = small_experiment(images, fusion="picky")
    check_experiment(parse_experiment(experiment), load_registry())
    with pytest.raises(MedfuseError, match=r"no place for \d+ numbers"):
        train(experiment, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_absent_weights_are_no_error_where_they_may_be_fetched(images: Path) -> None:
    experiment = parse_experiment(small_experiment(images, sources=["timm:resnet18.a1_in1k"]))
    check_experiment(experiment, load_registry(), download=True)


def test_earlier_run_survives_a_mistake_in_a_fresh_one(
    finished_run: TrainingOutcome, images: Path
) -> None:
    experiment = small_experiment(images, fusion="atention")
    with pytest.raises(MedfuseError, match="atention"):
        train(experiment, finished_run.folder, fresh=True, progress=False)
    assert finished_run.report.is_file()


def test_earlier_run_survives_a_typo_in_the_cohort_of_a_fresh_one(
    finished_run: TrainingOutcome, images: Path
) -> None:
    experiment = small_experiment(images, cohort={"path": f"{images}2"})
    with pytest.raises(MedfuseError, match="no such file or folder"):
        train(experiment, finished_run.folder, fresh=True, progress=False)
    assert finished_run.report.is_file()
    assert (finished_run.folder / "config.yaml").is_file()


@pytest.mark.slow
def test_published_license_holds_whatever_the_configuration_states(images: Path) -> None:
    use = "torchvision:regnet_y_16gf.imagenet1k_swag_linear_v1"
    mine = {"use": "timm:test_resnet.random", "license": "LicenseRef-research-only"}
    stated = small_experiment(images, sources=[{"use": use, "license": "MIT"}, mine])
    registry = load_registry()
    with pytest.raises(BundleError, match=r"sources\.0, .*: license CC-BY-NC-4\.0 forbids"):
        check_licenses(parse_experiment(stated), registry)
    accepting = {**stated, "bundle": {"accept_licenses": ["CC-BY-NC-4.0"]}}
    with pytest.raises(BundleError, match=r"sources\.1, .*: license LicenseRef-research-only"):
        check_licenses(parse_experiment(accepting), registry)
    accepting["bundle"]["accept_licenses"].append("LicenseRef-research-only")
    check_licenses(parse_experiment(accepting), registry)
    assert parse_experiment(accepting).digest() == parse_experiment(stated).digest()


def test_license_accepted_on_the_command_line_joins_those_of_the_file(tmp_path: Path) -> None:
    place = tmp_path / "a.yaml"
    accepted = "bundle: {accept_licenses: [CC-BY-NC-4.0], authors: Ward 7}"
    place.write_text(f"cohort: {{path: x}}\nsources: [mini:resnet]\n{accepted}\n")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = ["--accept-license", "LicenseRef-research-only", "--accept-license", "CC-BY-NC-4.0"]
    found = experiment_of(parser.parse_args([str(place), "--out", "r", *given]))
    assert found.bundle.accept_licenses == ("CC-BY-NC-4.0", "LicenseRef-research-only")
    assert found.bundle.authors == "Ward 7"
