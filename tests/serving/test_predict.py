from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medfuse.bundle import write as write_module
from medfuse.bundle.digests import write_digests
from medfuse.bundle.write import write_bundle
from medfuse.errors import BundleError, ConfigError
from medfuse.serving.inputs import bundle_in
from medfuse.serving.predict import Predictor, load_bundle


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return load_bundle(bundle)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / bundle.name))


def test_monai_s_own_run_gives_the_same_probabilities(
    predictor: Predictor, bundle: Path, images: Path, run_rows, tmp_path: Path
) -> None:
    rows = run_rows(bundle, images, tmp_path)
    found = predictor.predict([images / row["image"] for row in rows])
    for row, prediction in zip(rows, found, strict=True):
        assert prediction.predicted == row["predicted"]
        for name, value in prediction.probabilities.items():
            assert value == pytest.approx(float(row[f"prob_{name}"]), abs=1e-5)


def test_arrays_give_what_their_files_give(predictor: Predictor, images: Path) -> None:
    path = images / "ward" / "patient-001.png"
    (from_file,) = predictor.predict([path])
    (from_array,) = predictor.predict([np.asarray(Image.open(path))])
    assert from_array.case == "array-0"
    assert dict(from_array.probabilities) == pytest.approx(dict(from_file.probabilities), abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_order_and_values_do_not_depend_on_batches_or_bad_neighbours(
    predictor: Predictor, images: Path, tmp_path: Path, batch_size: int
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    good = sorted((images / "ward").iterdir())
    found = predictor.predict([good[0], bad, good[1], good[2]], batch_size)
    alone = [predictor.predict([path])[0] for path in good]
    assert [p.status for p in found] == ["ok", "refused", "ok", "ok"]
    for one, other in zip([found[0], found[2], found[3]], alone, strict=True):
        assert dict(one.probabilities) == pytest.approx(dict(other.probabilities), abs=1e-6)


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "EMPTY_FILE"), (b"text", "NOT_AN_IMAGE"), (None, "FILE_NOT_FOUND")],
)
def test_bad_images_are_refused_with_a_code_and_no_numbers(
    predictor: Predictor, tmp_path: Path, content: bytes | None, code: str
) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    (found,) = predictor.predict([path])
    assert (found.status, found.reason_code) == ("refused", code)
    assert found.predicted == ""
    assert found.probabilities == {}


def test_truncated_images_are_refused(predictor: Predictor, images: Path, tmp_path: Path) -> None:
    data = (images / "ward" / "patient-000.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (found,) = predictor.predict([tmp_path / "cut.png"])
    assert found.status == "refused"
    assert found.reason_code in ("TRUNCATED", "CORRUPT")


def test_arrays_that_are_not_finite_are_refused_without_naming_a_temporary_file(
    predictor: Predictor,
) -> None:
    (found,) = predictor.predict([np.full((8, 8), np.nan, dtype=np.float32)])
    assert found.reason_code == "NON_FINITE"
    assert found.reason.startswith("array-0:")


def test_networks_that_give_no_number_are_refused(bundle: Path, images: Path) -> None:
    predictor = load_bundle(bundle)
    with torch.no_grad():
        predictor._parts.network.temperature.fill_(float("nan"))
    (found,) = predictor.predict([images / "ward" / "patient-000.png"])
    assert (found.status, found.reason_code) == ("refused", "NON_FINITE_OUTPUT")


def test_nothing_is_predicted_for_nothing(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


@pytest.mark.slow
def test_two_bundles_with_different_scripts_live_in_one_process(
    bundle: Path, request_for, images: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(write_module, "write_onnx", lambda *_: 0.0)
    other = write_bundle(request_for(classes=("a", "b")), tmp_path)
    path = other / "scripts" / "heads_linear.py"
    path.write_text(path.read_text().replace("self.linear(self", "0 * self.linear(self"))
    write_digests(other)
    one, two = load_bundle(bundle), load_bundle(other)
    image = images / "ward" / "patient-000.png"
    before = load_bundle(bundle).predict([image])[0]
    assert two.predict([image])[0].probabilities == {"a": 0.5, "b": 0.5}
    assert one.predict([image])[0] == before


def test_the_caller_s_own_scripts_and_path_are_left_alone(bundle: Path, monkeypatch) -> None:
    mine = types.ModuleType("scripts")
    monkeypatch.setitem(sys.modules, "scripts", mine)
    path = list(sys.path)
    load_bundle(bundle)
    assert sys.modules["scripts"] is mine
    assert "scripts.model" not in sys.modules
    assert sys.path == path


def test_loading_writes_nothing_into_the_bundle(bundle: Path) -> None:
    before = sorted(bundle.rglob("*"))
    load_bundle(bundle)
    assert sorted(bundle.rglob("*")) == before


def test_an_absent_device_is_named(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="device: found 'toaster', expected auto, cpu"):
        load_bundle(bundle, "toaster")


def test_folders_that_are_no_bundle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        load_bundle(tmp_path / "absent")
    with pytest.raises(BundleError, match="neither a bundle nor a run with one"):
        load_bundle(tmp_path)


def test_the_folder_of_a_run_stands_for_the_bundle_in_it(bundle: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(BundleError, match="run: found neither a bundle nor a run with one"):
        bundle_in(run)
    inside = shutil.copytree(bundle, run / "bundle" / "first_classification")
    assert bundle_in(run) == inside
    assert bundle_in(inside) == inside
    assert load_bundle(run).classes == load_bundle(bundle).classes


def test_changed_bundles_are_refused_before_their_code_runs(copy: Path) -> None:
    (copy / "scripts" / "model.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(BundleError, match=r"model\.py: changed since the bundle was written"):
        load_bundle(copy)


def test_other_formats_are_refused_by_number(copy: Path) -> None:
    path = copy / "configs" / "metadata.json"
    document = json.loads(path.read_text())
    document["medfuse"]["format"] = 99
    path.write_text(json.dumps(document))
    write_digests(copy)
    with pytest.raises(BundleError, match="bundle format 99, expected 1"):
        load_bundle(copy)


def test_weights_that_do_not_fit_are_refused(copy: Path) -> None:
    path = copy / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    state.pop("classifier.head.linear.bias")
    torch.save(state, path)
    write_digests(copy)
    with pytest.raises(BundleError, match="weights cannot be loaded"):
        load_bundle(copy)


def test_code_that_cannot_be_built_is_refused_with_the_first_cause(copy: Path) -> None:
    (copy / "scripts" / "fusion_concat.py").write_text("import no_such_module\n")
    write_digests(copy)
    with pytest.raises(BundleError, match="cannot be built"):
        load_bundle(copy)
    assert not [name for name in sys.modules if name.startswith("scripts.fusion")]
