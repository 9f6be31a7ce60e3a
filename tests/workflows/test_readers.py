"""A format that only a plugin reads: from class folders through training into the bundle."""

from __future__ import annotations

import csv
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfuse.config import CohortConfig
from medfuse.errors import ImageError, PluginError
from medfuse.serving.predict import load_bundle
from medfuse.workflows.check import check
from medfuse.workflows.evaluate import evaluate
from medfuse.workflows.prepare import prepare_cohort
from medfuse.workflows.preview import PreviewOptions, preview
from medfuse.workflows.train import train

PLUGIN = """
from medfuse.contract import GraphOnly, ReaderSpec, VendoredSource, hookimpl

VENDORED = VendoredSource(modules=("grid_reading",), allowed_imports=("numpy",))

@hookimpl
def medfuse_readers():
    yield ReaderSpec(name="grid", summary="s", factory="grid_reading:read", suffixes=(".f32",),
                     export=VENDORED)
"""
READER = """
import json
from pathlib import Path
from types import SimpleNamespace
import numpy as np

def read(path):
    facts = json.loads(Path(path).with_suffix(".json").read_text())
    pixels = np.fromfile(path, "<f4").reshape(1, *facts["shape"])
    affine = np.diag([1.0, 1.0, 2.0, 1.0]) if pixels.ndim == 4 else None
    return SimpleNamespace(pixels=pixels, affine=affine, modality="MR")
"""
CASES = 16


def write_cohort(folder: Path, shape: tuple[int, ...]) -> Path:
    """Write two classes of bright and dark files, with their shapes beside them."""
    random = np.random.default_rng(0)
    for number in range(CASES):
        place = folder / ("bright", "dark")[number % 2] / f"p{number:02d}.f32"
        place.parent.mkdir(parents=True, exist_ok=True)
        (random.random(shape) * (number % 2 + 1) / 2).astype("<f4").tofile(place)
        place.with_suffix(".json").write_text(json.dumps({"shape": shape}))
    return folder


@pytest.fixture
def grids(install_plugin, tmp_path: Path):
    """Install the plugin, and write a cohort that only it can read."""

    def install(shape: tuple[int, ...] = (24, 24), reader: str = READER, plugin: str = PLUGIN):
        install_plugin("grid", plugin, grid_reading=reader)
        return write_cohort(tmp_path / "cohort", shape)

    return install


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logging.getLogger("medfuse"), "propagate", True)
    caplog.set_level(logging.INFO, logger="medfuse")
    return caplog


def experiment(cohort: Path, **changes: Any) -> dict[str, Any]:
    return {
        "cohort": {"path": str(cohort)},
        "sources": [{"use": "timm:test_resnet.random"}],
        "fusion": {"use": "concat"},
        "head": {"use": "linear"},
        "training": {"epochs": 1, "members": 1},
        "evaluation": {"bootstrap": 0},
        **changes,
    }


def prepared(cohort: Path, tmp_path: Path):
    from medfuse.config import parse_experiment
    from medfuse.features.bank import FeatureBank

    return prepare_cohort(parse_experiment(experiment(cohort)), FeatureBank(tmp_path / "bank"))


def run_alone(bundle: Path, data: Path, out: Path) -> list[dict[str, str]]:
    """Run a bundle with MONAI where medfuse cannot be imported and the plugin is not installed."""
    out.mkdir()
    (out / "sitecustomize.py").write_text("import sys\nsys.modules['medfuse'] = None\n")
    config, program = bundle / "configs" / "inference.json", [sys.executable, "-m", "monai.bundle"]
    places = ["--bundle_root", bundle, "--dataset_dir", data, "--output_dir", out]
    done = subprocess.run(
        [*program, "run", "--config_file", config, *places],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(out)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_class_folders_find_and_read_the_format(grids, tmp_path: Path) -> None:
    found = prepared(grids(), tmp_path)
    assert len(found.cohort.cases) == CASES
    read = found.inputs["image"]
    assert (read.config.kind, read.config.modality) == ("image", "MR")
    assert [one.name for one in read.preprocessing.readers] == ["grid:grid"]


def test_volumes_of_a_plugin_keep_their_spacing(grids, tmp_path: Path) -> None:
    read = prepared(grids((12, 12, 6)), tmp_path).inputs["image"]
    assert (read.config.kind, read.config.modality) == ("volume", "MR")
    assert read.fingerprint["geometry"]
    assert sorted(read.fingerprint["spacing_median"]) == [1, 1, 2]


def test_a_table_names_files_of_the_format(grids, tmp_path: Path) -> None:
    folder = grids()
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label"])
        rows.writerows([str(path), path.parent.name] for path in sorted(folder.rglob("*.f32")))
    assert len(prepared(tmp_path / "cases.csv", tmp_path).cohort.cases) == CASES


def test_a_changed_part_beside_the_file_is_seen_by_the_next_run(grids, tmp_path: Path) -> None:
    folder = grids()
    before = prepared(folder, tmp_path).inputs["image"].facts
    beside = folder / "bright" / "p00.json"
    beside.write_text(json.dumps({"shape": [12, 48]}))
    after = prepared(folder, tmp_path).inputs["image"].facts
    changed = {case for case in before if before[case].digest != after[case].digest}
    assert len(changed) == 1


def test_a_changed_reader_is_another_preprocessing(grids, tmp_path: Path) -> None:
    digest = prepared(grids(), tmp_path).inputs["image"].preprocessing.digest()
    other = prepared(grids(reader=READER + "\nx = 1\n"), tmp_path)
    assert other.inputs["image"].preprocessing.digest() != digest


def test_a_reader_that_raises_refuses_the_file_with_its_name(grids, tmp_path: Path) -> None:
    folder = grids()
    (folder / "bright" / "p00.json").unlink()
    with pytest.raises(ImageError, match=r"p00\.f32: reader grid:grid of a plugin failed") as found:
        prepared(folder, tmp_path)
    assert found.value.code == "PLUGIN_READER"


def test_an_ambiguous_ending_is_refused_before_anything_is_read(
    grids, install_plugin, tmp_path: Path
) -> None:
    folder = grids()
    install_plugin("other", PLUGIN.replace("grid_reading", "absent_module"))
    with pytest.raises(PluginError, match="grid:grid and other:grid both read '.f32'"):
        prepared(folder, tmp_path)


def test_without_the_plugin_the_files_are_skipped_and_counted(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path / "cohort", (24, 24))
    for name in ("bright", "dark"):
        Image.new("L", (24, 24)).save(folder / name / "one.png")
    found = check(CohortConfig(path=str(folder)), progress=False)
    assert found.summary()["events"]["OTHER_FILE_SKIPPED"] == 2 * CASES


def test_the_check_reads_the_format(grids, tmp_path: Path) -> None:
    found = check(CohortConfig(path=str(grids())), tmp_path / "out", progress=False)
    assert len(found.scan.seen) == CASES
    assert {seen.look.kind for seen in found.scan.seen} == {"grid:grid"}
    assert (tmp_path / "out" / "check.html").is_file()


def test_the_preview_reads_the_format(grids, tmp_path: Path) -> None:
    cohort = grids()
    found = preview(CohortConfig(path=str(cohort)), options=PreviewOptions(cases=2, views=1))
    assert [len(read.shown) for read in found.inputs] == [4]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("shape", [(24, 24), (12, 12, 6)])
def test_the_bundle_reads_the_format_where_plugin_and_medfuse_are_absent(
    grids, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    folder = grids(shape)
    outcome = train(experiment(folder), tmp_path / "run", progress=False)
    assert (outcome.bundle / "scripts" / "grid_reading.py").read_text() == READER
    rows = run_alone(outcome.bundle, folder, tmp_path / "alone")
    files = sorted(folder.rglob("*.f32"))
    expected = load_bundle(outcome.bundle).predict([str(path) for path in files])
    assert [row["image"] for row in rows] == [str(f.relative_to(folder)) for f in files]
    for row, prediction in zip(rows, expected, strict=True):
        assert prediction.status == "ok", prediction.reason
        bright = prediction.probabilities["bright"]
        assert float(row["prob_bright"]) == pytest.approx(bright, abs=1e-5)


@pytest.mark.slow
def test_evaluation_finds_what_the_bundle_reads(grids, tmp_path: Path) -> None:
    folder = grids()
    outcome = train(experiment(folder), tmp_path / "run", progress=False)
    found = evaluate(outcome.bundle, folder, tmp_path / "out")
    assert found.metrics["cases"] == CASES
    assert found.refused == 0
    assert found.metrics["seen"]["cases"] > 0


@pytest.mark.slow
def test_a_reader_without_export_is_said_at_the_start_and_is_not_in_the_bundle(
    grids, tmp_path: Path, log
) -> None:
    folder = grids(plugin=PLUGIN.replace("=VENDORED", "=GraphOnly(reason='closed source')"))
    outcome = train(experiment(folder), tmp_path / "run", progress=False)
    said = [text for text in log.messages if "closed source" in text]
    assert "the bundle will not read them" in said[0]
    assert log.messages.index(said[0]) < log.messages.index(
        next(text for text in log.messages if "cases of 2 classes" in text)
    )
    assert outcome.metrics["bundle"]["difference"] is None
    assert not (outcome.bundle / "scripts" / "grid_reading.py").exists()
    (refused,) = load_bundle(outcome.bundle).predict([str(next(folder.rglob("*.f32")))])
    assert (refused.status, refused.reason_code) == ("refused", "NOT_AN_IMAGE")


def beside_pictures(folder: Path) -> Path:
    """Write a table of the volumes with a picture each, which every third case lacks."""
    random = np.random.default_rng(1)
    rows = ["case_id,label,mr,xr"]
    for number, file in enumerate(sorted(folder.rglob("*.f32"))):
        picture = f"{file.stem}.png" if number % 3 else ""
        if picture:
            pixels = random.integers(0, 255, (24, 24), np.uint8)
            Image.fromarray(pixels).save(folder / picture)
        rows.append(f"{file.stem},{file.parent.name},{file.relative_to(folder)},{picture}")
    (folder / "cases.csv").write_text("\n".join(rows))
    return folder / "cases.csv"


@pytest.mark.slow
def test_evaluation_of_volumes_beside_missing_pictures_gives_the_metrics_of_the_run(
    grids, tmp_path: Path
) -> None:
    table = beside_pictures(grids((12, 12, 6)))
    size = {"modality": "MR", "size": [32, 32, 8]}
    described = experiment(
        table,
        inputs={"mr": size, "xr": {"modality": "XR", "size": [32, 32]}},
        sources=[
            {"use": "timm:test_resnet.random", "input": "mr", "levels": 2},
            {"use": "timm:test_resnet.random", "input": "xr"},
        ],
    )
    outcome = train(described, tmp_path / "run", progress=False)
    found = evaluate(outcome.bundle, outcome.folder / "cohort.csv", tmp_path / "out", part="test")
    assert found.refused == 0
    for name, metric in outcome.metrics["test"]["overall"].items():
        value = found.metrics["overall"][name]["value"]
        # a slope of few cases is far from 0, and as sensitive as it is large
        expected = pytest.approx(metric["value"], rel=1e-4, abs=1e-5, nan_ok=True)
        assert value == expected, name
