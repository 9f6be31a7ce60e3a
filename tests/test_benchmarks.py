"""The parts of the speed benchmarks run, at sizes that say nothing about speed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
KERAS = FOLDER.parent / ".venvs" / "keras" / "bin" / "python"
SETS = ("MEDFUSE_DATA", "MEDFUSE_WEIGHTS")


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(FOLDER))
        for name in SETS:
            patched.delenv(name, raising=False)
        yield
    for name in [m for m, found in sys.modules.items() if _is_script(found)]:
        del sys.modules[name]


def _is_script(module: object) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).parent == FOLDER


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Any:
    runs = script("whole_runs")
    return runs.subject_of(
        runs.experiment_in(tmp_path_factory.mktemp("speed"), 2, 20, ["mini:resnet"])
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_plain_loop_sees_the_pixels_of_medfuse(subject: Any) -> None:
    loader = script("plain_loop").image_loader(subject, "test", workers=0)
    seen = np.concatenate([batch["image"] for batch in loader])
    own = np.stack([subject.prepared.inputs["image"].pixels(c) for c in subject.cases("test")])
    np.testing.assert_allclose(seen, own, atol=1e-6)


def test_the_plain_loop_and_its_banked_head_give_the_same_logits(subject: Any) -> None:
    loop = script("plain_loop")
    torch.manual_seed(0)
    source = subject.sources[0]
    whole = loop.FrozenTwins([source.extractor], source.feature_dim, 3).eval()
    banked = loop.FrozenTwins([torch.nn.Identity()], source.feature_dim, 3).eval()
    banked.classify.load_state_dict(whole.classify.state_dict())
    case = subject.prepared.cohort.cases[0]
    pixels = torch.from_numpy(subject.prepared.inputs["image"].pixels(case))[None]
    features = torch.from_numpy(subject.features.values[0][:1, 0])
    torch.testing.assert_close(whole(pixels), banked(features), atol=1e-3, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_plain_loop_trains_its_head_and_nothing_else(subject: Any) -> None:
    loop = script("plain_loop")
    source = subject.sources[0]
    network = loop.FrozenTwins([source.extractor], source.feature_dim, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    loaders = {p: loop.image_loader(subject, p, workers=0) for p in ("train", "validation")}
    assert len(loop.fit(network, loaders, epochs=1)) == 1
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("classify") for name in changed)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_loop_reports_an_accuracy_and_each_ratio(subject: Any) -> None:
    loop, runs = script("plain_loop"), script("whole_runs")
    accuracy = loop.banked_accuracy(subject, 1)
    assert 0 <= accuracy <= 1
    own = [runs.Spent(10.0, 20.0), runs.Spent(5.0, 8.0), runs.Spent(4.0, 7.0), runs.Spent(2.0, 3.0)]
    times = runs.Times((own[0], own[1]), (own[2], own[3]), 0.5)
    whole = runs.extrapolated([12.0, 10.0], 36.0, 10)
    lines = loop.report(subject, [12.0, 10.0], whole, times, accuracy)
    assert lines[-5:] == [
        "| MONAI loop, 2 epochs measured | 102.0 | 1 | 180.0 | 1 |",
        "| medfuse, whole run, first run, nothing banked | 10.0 | 10.2 | 20.0 | 9.0 |",
        "| medfuse, whole run, second run, bank filled | 5.0 | 20.4 | 8.0 | 22.5 |",
        "| medfuse, features and head, first run, nothing banked | 4.0 | 25.5 | 7.0 | 25.7 |",
        "| medfuse, features and head, second run, bank filled | 2.0 | 51.0 | 3.0 | 60.0 |",
    ]


def test_keras_is_shown_the_cases_of_medfuse(subject: Any, tmp_path: Path) -> None:
    script("keras_loop").class_folders(subject, tmp_path)
    for part in ("train", "validation", "test"):
        found = {p.read_bytes() for p in tmp_path.glob(f"{part}/*/*.png")}
        assert found == {Path(c.inputs["image"]).read_bytes() for c in subject.cases(part)}


@pytest.mark.parametrize(("name", "layers"), [("mobilenetv2_035", 104), ("mobilenetv1_100", 50)])
def test_every_weight_of_timm_has_a_layer_of_keras(name: str, layers: int) -> None:
    import timm

    keys = [
        key
        for key in timm.create_model(name).state_dict()
        if not key.endswith("num_batches_tracked")
        and not key.startswith(("classifier", "conv_head", "bn2")[: 3 if "v1" in name else 1])
        and not ("v1" in name and key.startswith("blocks.4.1"))
    ]
    found = script("keras_script").layers_of(name, keys)
    assert sorted(key for own in found.values() for key in own) == sorted(keys)
    assert len(found) == layers


def test_growth_extracts_every_image_once_for_all_sources() -> None:
    growth = script("growth")
    assert growth.extraction(growth.Size(images=64, sources=2)) == 64


def test_growth_trains_a_head_on_as_many_classes_as_asked() -> None:
    growth = script("growth")
    assert growth.head(growth.Size(images=64, sources=2, classes=10)) == 10


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_growth_measures_what_the_work_adds_to_memory() -> None:
    growth = script("growth")
    cost = growth.cost_of(_holds_mebibytes, growth.Size(images=100))
    assert 95 < cost.memory < 150
    assert cost.seconds > 0


def _holds_mebibytes(size: Any) -> None:
    np.ones((size.images, 2**20), dtype=np.uint8)


def test_a_line_has_exponent_one_and_a_square_two() -> None:
    exponent = script("growth").exponent
    assert exponent([1, 10, 100], [2, 20, 200]) == pytest.approx(1)
    assert exponent([1, 10, 100], [2, 200, 20000]) == pytest.approx(2)


def test_startup_compares_with_the_first_command() -> None:
    lines = script("startup").table({"a": [sys.executable, "-c", ""], "b": ["true"]}, rounds=1)
    assert lines[2].startswith("| `a` |")
    assert lines[2].endswith("| 1.00 |")


def test_startup_names_a_bundle_and_an_image_that_are_there() -> None:
    startup = script("startup")
    shipped = startup.ROOT / "bundles" / "chest-xray_classification"
    predict = startup.commands(shipped)["medfuse predict, one image"]
    assert all(Path(path).exists() for path in predict[-2:])


@pytest.mark.slow
def test_times_of_medfuse_are_of_runs_that_were_measured(tmp_path: Path) -> None:
    runs = script("whole_runs")
    experiment = runs.experiment_in(tmp_path, 2, 20, ["mini:resnet"])
    times = runs.medfuse_times(experiment, tmp_path)
    assert min(spent.processor for spent in (*times.whole, *times.inner)) > 0
    assert 0 <= times.accuracy <= 1
    assert sorted(p.name for p in tmp_path.glob("*/report.html")) == ["report.html"] * 2
