"""Bundles of volumes, whole and sliced, under MONAI's own program."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel
import numpy as np
import onnxruntime
import pytest
import torch

from medfuse.data.dicom.scan import series_key
from medfuse.data.volume_file import read_volume
from medfuse.exporters.quiet import quiet_torchscript
from medfuse.preprocessing import Preprocessing

NAMES = ("solid", "sliced")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)


def probabilities(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(v) for k, v in row.items() if k.startswith("prob_")] for row in rows])


def canonical(generated, path: Path) -> torch.Tensor:
    """What training sees of the file."""
    return torch.from_numpy(Preprocessing(generated.VOLUME).load(str(path)).pixels)[None]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_probabilities_of_the_trained_network(
    name: str, written, requests_, generated, volumes: Path, run_rows, tmp_path: Path
) -> None:
    bundle, network = written[name], requests_[name].network
    rows = run_rows(bundle, volumes, tmp_path / "a")
    assert [row["image"] for row in rows] == ["ward/scan-0.nii.gz", "ward/scan-1.nii.gz"]
    images = [canonical(generated, volumes / row["image"]) for row in rows]
    with torch.inference_mode():
        expected = torch.cat([network(image).softmax(-1) for image in images]).numpy()
    assert np.ptp(expected[:, 0]) > 1e-3
    traced = run_rows(bundle, volumes, tmp_path / "b", "inference.json", "inference_ts.json")
    session = onnxruntime.InferenceSession(
        str(bundle / "models" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["pred"], {"image": torch.cat(images).numpy()})
    np.testing.assert_allclose(probabilities(rows), expected, atol=1e-5)
    np.testing.assert_allclose(probabilities(traced), expected, atol=1e-5)
    np.testing.assert_allclose(torch.tensor(logits).softmax(-1), expected, atol=1e-5)


def test_the_traced_network_has_features(written, requests_) -> None:
    with quiet_torchscript():
        traced = torch.jit.load(written["sliced"] / "models" / "model.ts")
    image = torch.rand(3, 1, 24, 20, 12)
    with torch.inference_mode():
        expected = requests_["sliced"].network.features(image)
        torch.testing.assert_close(traced.features(image), expected, atol=1e-4, rtol=1e-4)


def test_a_folder_of_dicom_files_is_one_case_and_equals_its_nifti(
    written, synthetic, run_rows, tmp_path: Path
) -> None:
    series = synthetic.write_series(tmp_path / "in" / "p1" / "series", 9)
    volume = read_volume(str(series))
    image = nibabel.Nifti1Image(volume.pixels, volume.header.affine)
    nibabel.save(image, tmp_path / "in" / "same.nii.gz")
    rows = run_rows(written["sliced"], tmp_path / "in", tmp_path / "out")
    assert [row["image"] for row in rows] == ["p1/series", "same.nii.gz"]
    dicom, nifti = probabilities(rows)
    np.testing.assert_allclose(dicom, nifti, atol=1e-4)


def test_a_metaimage_equals_its_nifti(written, run_rows, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    voxels = np.random.default_rng(0).integers(-100, 300, (24, 20, 12)).astype("<i2")
    affine = np.diag([-1.0, -1, 2, 1])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / "a.nii.gz")
    header = (
        "NDims = 3\nDimSize = 24 20 12\nElementSpacing = 1 1 2\nElementType = MET_SHORT\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementDataFile = "
    )
    (folder / "b.mha").write_bytes(f"{header}LOCAL\n".encode() + voxels.tobytes(order="F"))
    (folder / "c.mhd").write_text(f"{header}c.raw\n")
    (folder / "c.raw").write_bytes(voxels.tobytes(order="F"))
    rows = run_rows(written["solid"], folder, tmp_path / "out")
    assert [row["image"] for row in rows] == ["a.nii.gz", "b.mha", "c.mhd"]
    nifti, one_file, two_files = probabilities(rows)
    np.testing.assert_allclose(one_file, nifti, atol=1e-6)
    np.testing.assert_allclose(two_files, nifti, atol=1e-6)


def test_a_dataset_folder_that_is_itself_a_series_has_one_case(
    written, synthetic, run_rows, tmp_path: Path
) -> None:
    series = synthetic.write_series(tmp_path / "scan", 5)
    (row,) = run_rows(written["solid"], series, tmp_path / "out")
    assert row["image"] == "scan"


def test_each_of_two_series_in_a_folder_has_a_row(
    written, synthetic, run_rows, tmp_path: Path
) -> None:
    def other(dataset, number: int) -> None:
        dataset.SeriesInstanceUID += ".7"
        dataset.SOPInstanceUID += ".7"

    synthetic.write_series(tmp_path / "in" / "study", 4)
    for path in synthetic.write_series(tmp_path / "more", 4, other).iterdir():
        path.rename(tmp_path / "in" / "study" / f"other-{path.name}")
    rows = run_rows(written["solid"], tmp_path / "in", tmp_path / "out")
    keys = sorted(series_key(f"{synthetic.ROOT}2{end}") for end in ("", ".7"))
    assert [row["image"] for row in rows] == [f"study::{key}" for key in keys]


def test_an_empty_folder_is_an_error(written, monai_run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError) as caught:
        monai_run(written["solid"], tmp_path / "empty", tmp_path / "out")
    assert "no input images" in str(caught.getrepr(chain=True))


def test_fine_tuning_takes_class_folders_of_files_and_series(
    written, generated, synthetic, monai_run, tmp_path: Path
) -> None:
    for part in ("train", "val"):
        generated.write_volumes(tmp_path / "data" / part / "benign", 2)
        for number in range(2):
            folder = tmp_path / "data" / part / "malignant" / f"p{number}"
            synthetic.write_series(folder, 5 + number)
    monai_run(
        written["solid"],
        tmp_path / "data",
        tmp_path / "out",
        "train.json",
        **{"ckpt_dir": str(tmp_path / "models"), "train::trainer::max_epochs": 1},
    )
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["model_candidate.pt"]
    before = torch.load(written["solid"] / "models" / "model.pt", weights_only=True)
    after = torch.load(tmp_path / "models" / "model_candidate.pt", weights_only=True)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.head.linear.weight", "classifier.head.linear.bias"}


def test_metadata_names_the_one_input_image_with_its_three_sizes(written) -> None:
    document = json.loads((written["solid"] / "configs" / "metadata.json").read_text())
    (name, tensor), *others = document["network_data_format"]["inputs"].items()
    assert (name, tensor["type"], tensor["spatial_shape"]) == ("image", "image", [24, 20, 12])
    assert others == []
    assert document["task"] == "Classification of CT volumes"


def test_a_bundle_of_images_carries_none_of_this(bundle: Path) -> None:
    scripts = {path.name for path in (bundle / "scripts").iterdir()}
    assert not [name for name in scripts if name.startswith(("bundle_case", "bundle_volume"))]
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    assert "case_inputs" not in config
    assert "prepare_batch" not in config["evaluator"]


def test_the_log_does_not_call_slices_skipped(
    written, synthetic, run_rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    synthetic.write_series(tmp_path / "in" / "p1", 5)
    with caplog.at_level(logging.WARNING):
        run_rows(written["solid"], tmp_path / "in", tmp_path / "out")
    assert "skipped, no volumes" not in caplog.text


def test_fine_tuning_augments_by_the_vendored_code_of_training(written) -> None:
    config = json.loads((written["solid"] / "configs" / "train.json").read_text())
    *_, last = config["train"]["preprocessing"]["transforms"]
    assert last["_target_"] == "scripts.preprocessing_views.RandomViewd"
    assert (last["axes"], last["recipe"]["rotate"]) == ([2], 8)
    assert "RandomViewd" not in json.dumps(config["validate"])
    assert (written["solid"] / "scripts" / "preprocessing_views.py").exists()
