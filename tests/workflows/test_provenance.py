"""What the bundle of a run says of where it comes from."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from medfuse.data import read_split, split_digest
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment

pytestmark = pytest.mark.slow


def documents(run: TrainingOutcome) -> dict[str, Any]:
    return json.loads((run.bundle / "configs" / "metadata.json").read_text())


@pytest.fixture(scope="module")
def named_run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingOutcome:
    """A run of an embedded source and a cut one, by named authors."""
    return train(
        small_experiment(
            images,
            augmentation={"views": 0},
            sources=[
                {"use": "mini:resnet"},
                {
                    "use": "timm:test_resnet.random",
                    "cut": "layer3",
                    "options": {"act_layer": "silu"},
                },
            ],
            bundle={"authors": "Ward 7", "copyright": "2026 The Clinic", "license": "CC-BY-NC-4.0"},
            evaluation={"bootstrap": 0},
        ),
        tmp_path_factory.mktemp("named") / "run",
        progress=False,
    )


def test_the_provider_of_a_source_is_its_plugin(named_run: TrainingOutcome) -> None:
    mini, cut = documents(named_run)["medfuse"]["sources"]
    assert (mini["package"], mini["version"]) == ("medfuse-mini", version("medfuse-mini"))
    assert mini["libraries"] == {"timm": version("timm")}
    assert (mini["plugin"], mini["backbone"], mini["cut"]) == ("mini", "resnet", "")
    assert mini["weights"]
    assert (cut["package"], cut["plugin"]) == ("medfuse-timm", "timm")
    assert (cut["weights"], cut["cut"]) == ("random", "net.layer3")
    assert cut["options"]["act_layer"] == "silu"


def test_authors_copyright_and_license_are_those_of_the_configuration(
    named_run: TrainingOutcome,
) -> None:
    document = documents(named_run)
    assert document["authors"] == "Ward 7"
    assert document["copyright"] == "2026 The Clinic. Licensed under CC-BY-NC-4.0."
    assert document["medfuse"]["license"] == "CC-BY-NC-4.0"


def test_a_run_that_names_nobody_says_so(finished_run: TrainingOutcome) -> None:
    document = documents(finished_run)
    assert document["authors"] == "Not named."
    assert document["copyright"].startswith("Not named. Licensed under ")


def test_split_classes_temperature_and_parity_are_inside(finished_run: TrainingOutcome) -> None:
    document = documents(finished_run)
    cohort, _ = read_split(finished_run.folder / "cohort.csv")
    block = document["medfuse"]
    assert block["split_digest"] == split_digest(cohort)
    pred = document["network_data_format"]["outputs"]["pred"]
    assert tuple(pred["channel_def"].values()) == cohort.classes
    assert block["temperature"] > 0
    assert set(block["parity"]) == {"torchscript", "onnx", "rebuilt"}
    assert block["parity"]["onnx"] <= 1e-4
