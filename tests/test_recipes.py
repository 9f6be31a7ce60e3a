"""Every recipe trains as it is written, on a few real images, small, for one epoch.

Of networks whose weights have to be fetched the architecture runs, with random weights; the first
dense layer of VGG, with 103 million of its numbers, is made narrow. What a run writes is removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medfuse.config import Experiment, load_experiment
from medfuse.workflows.train import train

pytestmark = [pytest.mark.slow, pytest.mark.long]

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.yaml"))
# Four networks and a bundle of them take minutes: run by hand.
SLOWEST = ("four_networks",)
NARROW = {"vgg16": {"mlp_ratio": 0.01}, "vgg19": {"mlp_ratio": 0.01}}
FEW = 16


@pytest.fixture
def recipe_folders(
    shared_data: Path, shared_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDFUSE_DATA", str(shared_data))
    monkeypatch.setenv("MEDFUSE_WEIGHTS", str(shared_weights))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


@pytest.mark.parametrize(
    "recipe", [path for path in RECIPES if path.stem not in SLOWEST], ids=lambda path: path.stem
)
@pytest.mark.usefixtures("recipe_folders")
def test_a_recipe_trains_and_writes_its_bundle(recipe: Path, tmp_path: Path, run: Path) -> None:
    outcome = train(_small(recipe, tmp_path), run, progress=False)
    assert outcome.metrics["test"]["cases"] >= 6
    assert (outcome.bundle / "models" / "model.pt").is_file()


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2"])
@pytest.mark.usefixtures("recipe_folders")
def test_another_of_the_seven_networks_learns_in_all_layers(
    name: str, tmp_path: Path, run: Path
) -> None:
    (recipe,) = [path for path in RECIPES if path.stem == "seven_networks"]
    assert name in recipe.read_text()
    experiment = _small(recipe, tmp_path, f"sources.0.use={name}")
    outcome = train(experiment, run, progress=False)
    assert np.isfinite(outcome.metrics["test"]["overall"]["auroc_macro"]["value"])


def _small(recipe: Path, folder: Path, *changes: str) -> Experiment:
    """Return a recipe with few images, one epoch, and no weights that would be fetched."""
    experiment = load_experiment(recipe, list(changes))
    sources = [
        source if "@" in source.use or source.use.startswith("mini:")
        else source.model_copy(update=_untrained(source.use.partition(".")[0]))
        for source in experiment.sources
    ]  # fmt: skip
    images = _few(Path(experiment.cohort.path), folder / "images")
    (picture,) = experiment.inputs.values()
    return experiment.model_copy(
        update={
            "cohort": experiment.cohort.model_copy(update={"path": str(images)}),
            "inputs": {"image": picture.model_copy(update={"size": (96, 96)})},
            "sources": sources,
            "training": experiment.training.model_copy(update={"epochs": 1}),
            "evaluation": experiment.evaluation.model_copy(update={"bootstrap": 10}),
        }
    )


def _untrained(name: str) -> dict[str, object]:
    return {"use": f"{name}.random", "options": NARROW.get(name, {})}


def _few(given: Path, target: Path) -> Path:
    """Copy the first images of each class, parts and names as they are."""
    if given.is_file():
        return _few_rows(given, target)
    for folder, _, files in os.walk(given):
        copied = target / Path(folder).relative_to(given)
        for name in sorted(files)[:FEW]:
            copied.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(folder) / name, copied / name)
    return target


def _few_rows(archive: Path, target: Path) -> Path:
    """Write the first images of each part of a MedMNIST archive."""
    target.mkdir(parents=True)
    with np.load(archive) as arrays:
        kept = {name: arrays[name][: 3 * FEW] for name in arrays.files}
    np.savez(target / archive.name, **kept)
    return target / archive.name
