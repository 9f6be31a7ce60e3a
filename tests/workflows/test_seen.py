"""Measured images that were learned from are told, in training and in evaluation."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from medfuse.bundle.seen import OWN_TRAINING, SEEN, read_seen
from medfuse.config import EvaluationConfig, InputConfig
from medfuse.contract import BackboneSpec, WeightsSpec
from medfuse.data import read_split
from medfuse.preprocessing import Preprocessing, resolve_input
from medfuse.workflows import seen as seen_module
from medfuse.workflows.evaluate import evaluate
from medfuse.workflows.seen import digests_of_files, find_seen, seen_by_sources
from medfuse.workflows.train import TrainingOutcome, train
from tests.audit.conftest import volume_file

from .conftest import small_experiment

QUICK = EvaluationConfig(bootstrap=20)


def _files(run: TrainingOutcome, *roles: str) -> list[str]:
    cohort, _ = read_split(run.folder / "cohort.csv")
    return [f for case in cohort.cases if case.role in roles for f in case.inputs.values()]


def test_cases_are_found_by_any_of_their_images() -> None:
    found = find_seen([{"a", "b"}, {"c"}, ()], {"x": frozenset("ab"), "y": frozenset("b")})
    assert found.by == (("x", "y"), (), ())
    assert found.summary() == {"cases": 1, "by": {"x": 1, "y": 1}}
    assert found.groups == {"seen in training": ["yes", "no", "no"]}
    assert "1 of 3 measured cases were learned from by x (1) and y (1)" in found.warning()


def test_where_nothing_was_seen_nothing_is_said() -> None:
    found = find_seen([{"a"}], {"x": frozenset("b")})
    assert (found.groups, found.warning()) == ({}, "")
    assert found.summary() == {"cases": 0, "by": {}}


def test_bundle_lists_what_it_learned_from_and_no_test_image(finished_run: TrainingOutcome) -> None:
    listed = read_seen(finished_run.bundle)
    learned = digests_of_files(_files(finished_run, "train", "validation", "calibration"))
    assert listed == {OWN_TRAINING: learned}
    assert not learned & digests_of_files(_files(finished_run, "test"))
    assert SEEN in (finished_run.bundle / "SHA256SUMS").read_text()


@pytest.mark.slow
def test_evaluation_flags_the_images_that_the_bundle_learned_from(
    finished_run: TrainingOutcome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = finished_run.folder / "cohort.csv"
    learned = len(_files(finished_run, "train", "validation", "calibration"))
    with caplog.at_level(logging.WARNING, logger="medfuse"):
        found = evaluate(finished_run.bundle, cohort, tmp_path / "out", settings=QUICK)
    text = f"{learned} of 60 measured cases were learned from by {OWN_TRAINING} ({learned})"
    assert text in caplog.text
    assert text in (tmp_path / "out" / "report.html").read_text().replace("&#39;", "'")
    assert found.metrics["seen"] == {"cases": learned, "by": {OWN_TRAINING: learned}}
    groups = found.metrics["groups"]["seen in training"]
    assert {name: group["cases"] for name, group in groups.items()} == {
        "yes": learned,
        "no": 60 - learned,
    }


@pytest.mark.slow
def test_evaluation_on_the_test_part_flags_nothing(
    finished_run: TrainingOutcome, tmp_path: Path
) -> None:
    cohort = finished_run.folder / "cohort.csv"
    found = evaluate(finished_run.bundle, cohort, tmp_path / "out", part="test", settings=QUICK)
    assert found.metrics["seen"] == {"cases": 0, "by": {}}
    assert "learned from" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_test_images_that_a_source_has_seen_are_flagged(
    finished_run: TrainingOutcome,
    images: Path,
    shared_bank: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test = sorted(digests_of_files(_files(finished_run, "test")))
    weights = WeightsSpec(name="random", seen=str(tmp_path / "seen.txt.gz"))
    (tmp_path / "seen.txt.gz").write_bytes(gzip.compress("\n".join(test[:3]).encode()))
    first = []

    def with_list(sources):
        spec = BackboneSpec(name="a", summary="a", factory="a:a", weights=(weights,))
        first[:] = [sources[0].label]
        card = {**sources[0].card, "weights": "random"}
        return seen_by_sources([_replaced(sources[0], spec, card), *sources[1:]])

    monkeypatch.setattr("medfuse.workflows.package.seen_by_sources", with_list)
    settings = {"bootstrap": 0, "baselines": False}
    experiment = small_experiment(
        images, bank={"path": str(shared_bank)}, bundle={"graphs": False}, evaluation=settings
    )
    run = train(experiment, tmp_path / "run", progress=False)
    assert run.metrics["test"]["seen"] == {"cases": 3, "by": {first[0]: 3}}
    assert f"3 of {len(test)} measured cases were learned from" in run.report.read_text()
    assert read_seen(run.bundle)[first[0]] == set(test[:3])


def _replaced(source, spec, card):
    from dataclasses import replace

    return replace(source, spec=spec, card=card)


def test_the_list_of_the_embedded_sources_is_found_by_their_weights() -> None:
    from medfuse.backbones.build import SourceTarget, build_source
    from medfuse.config import SourceConfig
    from medfuse.registry import load_registry

    target = SourceTarget(channels=1, size=(64, 64))
    registry = load_registry()
    uses = ("mini:resnet", "mini:densenet.distilled", "mini:resnet.random")
    sources = [build_source(SourceConfig(use=use), registry, target) for use in uses]
    found = seen_module.seen_by_sources(sources)
    assert {name: len(digests) for name, digests in found.items()} == {
        "mini:resnet": 1999,
        "mini:densenet.distilled": 1999,
    }


def test_embedded_sources_are_flagged_on_a_real_image_that_they_saw(
    shared_data: Path, tmp_path: Path
) -> None:
    """The digests of the package and those of the reader are of one scheme."""
    from medfuse_mini import medfuse_backbones

    from medfuse.backbones.seen import seen_images

    archive = shared_data / "pneumoniamnist" / "pneumoniamnist.npz"
    (listed,) = {seen_images(spec.weights[0]) for spec in medfuse_backbones()}
    files = [f"{archive}::train_images::{i}" for i in range(200)]
    count = sum(not listed.isdisjoint(digests_of_files([file])) for file in files)
    assert 40 < count < 130, json.dumps(count)
    held_out = digests_of_files([f"{archive}::test_images::{i}" for i in range(200)])
    assert listed.isdisjoint(held_out)


def test_a_volume_is_known_however_its_axes_are_stored(tmp_path: Path) -> None:
    one = volume_file(tmp_path / "a.nii.gz", "RAS")
    two = volume_file(tmp_path / "b.nii", "LPS")
    assert digests_of_files([one]) == digests_of_files([two])
    resolved, fingerprint = resolve_input(InputConfig(kind="volume", modality="CT"), [two])
    trained = Preprocessing(resolved, fingerprint).load(two).pixel_digest
    assert digests_of_files([one]) == {trained}
