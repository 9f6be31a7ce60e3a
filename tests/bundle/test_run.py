"""The bundle under MONAI's own program, from another working directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from medfuse.bundle import write as write_module
from medfuse.bundle.write import write_bundle
from medfuse.exporters.quiet import quiet_torchscript


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)


def probabilities(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(v) for k, v in row.items() if k.startswith("prob_")] for row in rows])


def oracle(request_, path: Path) -> np.ndarray:
    """The same by Pillow and torch alone, but for MONAI's resizing."""
    from monai.transforms import Resize

    pixels = np.asarray(Image.open(path), dtype=np.float32)[None] / 255
    image = torch.as_tensor(Resize((40, 48))(pixels)).as_subclass(torch.Tensor)
    with torch.inference_mode():
        return request_.network(image[None]).softmax(-1)[0].numpy()


def test_probabilities_are_those_of_the_trained_network(
    bundle: Path, images: Path, request_, run_rows, tmp_path: Path
) -> None:
    rows = run_rows(bundle, images, tmp_path / "out")
    expected = [oracle(request_, images / row["image"]) for row in rows]
    assert [row["image"] for row in rows] == [f"ward/patient-00{i}.png" for i in range(3)]
    np.testing.assert_allclose(probabilities(rows), expected, atol=1e-5)


def test_the_traced_network_gives_the_same_without_the_network_s_code(
    bundle: Path, images: Path, run_rows, tmp_path: Path
) -> None:
    code = run_rows(bundle, images, tmp_path / "a")
    traced = run_rows(bundle, images, tmp_path / "b", "inference.json", "inference_ts.json")
    np.testing.assert_allclose(probabilities(code), probabilities(traced), atol=1e-5)


def test_missing_weights_are_an_error_and_never_random(
    bundle: Path, images: Path, monai_run, tmp_path: Path
) -> None:
    with pytest.raises((FileNotFoundError, RuntimeError)):
        monai_run(bundle, images, tmp_path / "out", ckpt_path=str(tmp_path / "absent.pt"))
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_an_empty_folder_is_an_error(bundle: Path, monai_run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError) as caught:
        monai_run(bundle, tmp_path / "empty", tmp_path / "out")
    assert "no input images" in str(caught.getrepr(chain=True))


def test_onnx_has_named_outputs_and_takes_any_batch(bundle: Path, request_) -> None:
    session = onnxruntime.InferenceSession(
        str(bundle / "models" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    assert [i.name for i in session.get_inputs()] == ["image"]
    assert [o.name for o in session.get_outputs()] == ["pred", "features"]
    for count in (1, 2, 5):
        image = torch.rand(count, 1, 40, 48)
        logits, features = session.run(None, {"image": image.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(logits, request_.network(image), atol=1e-4)
            expected = request_.network.features(image)
        np.testing.assert_allclose(features, expected, atol=1e-4 * float(expected.abs().max()))


def test_torchscript_has_features_and_holds_its_configuration(bundle: Path, request_) -> None:
    extra = {"metadata.json": "", "inference.json": ""}
    with quiet_torchscript():
        traced = torch.jit.load(bundle / "models" / "model.ts", _extra_files=extra)
    image = torch.rand(3, 1, 40, 48)
    with torch.inference_mode():
        torch.testing.assert_close(traced(image), request_.network(image))
        torch.testing.assert_close(traced.features(image), request_.network.features(image))
    assert json.loads(extra["metadata.json"])["name"] == "tiny"
    assert "preprocessing" in json.loads(extra["inference.json"])


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for part, count in (("train", 3), ("val", 1)):
        for name in ("normal", "pneumonia", "Covid-19"):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (40, 48), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"


def test_fine_tuning_writes_a_candidate_and_moves_no_frozen_part(
    bundle: Path, labelled: Path, monai_run, tmp_path: Path
) -> None:
    monai_run(
        bundle,
        labelled,
        tmp_path / "out",
        "train.json",
        **{
            "ckpt_dir": str(tmp_path / "models"),
            "train::trainer::max_epochs": 2,
            "batch_size": 4,
            "learning_rate": 0.01,
        },
    )
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["model_candidate.pt"]
    before = torch.load(bundle / "models" / "model.pt", weights_only=True)
    after = torch.load(tmp_path / "models" / "model_candidate.pt", weights_only=True)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.head.linear.weight", "classifier.head.linear.bias"}


def test_a_candidate_predicts_by_its_path_alone(
    bundle: Path, images: Path, monai_run, tmp_path: Path
) -> None:
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    state["classifier.head.linear.weight"].zero_()
    state["classifier.head.linear.bias"].zero_()
    torch.save(state, tmp_path / "model_candidate.pt")
    monai_run(bundle, images, tmp_path / "out", ckpt_path=str(tmp_path / "model_candidate.pt"))
    text = (tmp_path / "out" / "predictions.json").read_text()
    for row in json.loads(text):
        assert list(row["probabilities"].values()) == pytest.approx([1 / 3] * 3)


def test_train_json_has_the_ids_that_monai_label_overrides(bundle: Path) -> None:
    config = json.loads((bundle / "configs" / "train.json").read_text())
    assert config["train"]["dataset"]["data"] == "@train_list"
    assert config["validate"]["dataset"]["data"] == "@val_list"
    assert config["train"]["trainer"]["max_epochs"] >= 1
    assert {"handlers", "dataset", "preprocessing", "inferer"} <= set(config["train"])
    assert '"model.pt"' not in json.dumps(config["validate"])


def test_a_network_that_is_only_a_graph_still_runs(
    request_, images: Path, run_rows, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(write_module, "write_onnx", lambda *_: 0.0)
    request = replace(
        request_, network_node=None, graph_only=("head x: no recipe",), vendored=request_.vendored
    )
    root = write_bundle(request, tmp_path / "graph")
    assert not (root / "models" / "model.pt").exists()
    assert not (root / "configs" / "train.json").exists()
    assert (
        "Not possible here: the network exists only as a graph: head x: no recipe"
        in (root / "docs" / "README.md").read_text()
    )
    rows = run_rows(root, images, tmp_path / "out")
    expected = [oracle(request_, images / row["image"]) for row in rows]
    np.testing.assert_allclose(probabilities(rows), expected, atol=1e-5)


def test_independent_classes_get_sigmoids(
    request_, images: Path, run_rows, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(write_module, "write_onnx", lambda *_: 0.0)
    root = write_bundle(replace(request_, link="sigmoid"), tmp_path / "multi")
    rows = run_rows(root, images, tmp_path / "out")
    assert not np.allclose(probabilities(rows).sum(axis=1), 1)
    for row in rows:
        named = [c for c in request_.classes if float(row[f"prob_{c}"]) >= 0.5]
        assert row["predicted"] == ";".join(named)


def test_monai_label_s_last_step_is_disarmed(bundle: Path) -> None:
    """``Restored`` resizes ``pred`` to ``spatial_shape``, unless that is not in the metadata."""
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    last = config["postprocessing"]["transforms"][-1]
    assert last["_target_"] == "scripts.bundle_spatial_shape.DropSpatialShaped"
    assert last["_requires_"] == "@bundle_code"


@pytest.mark.slow
def test_the_card_s_command_runs_in_a_process_without_medfuse(
    bundle: Path, images: Path, request_, read_table, tmp_path: Path
) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    (command,) = re.findall(r"```sh\n(.*?)\n```", card, re.DOTALL)
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['medfuse'] = None\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "B": str(bundle),
        "IN": str(images),
        "OUT": str(tmp_path / "out"),
    }
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = read_table(tmp_path / "out" / "predictions.csv")
    expected = [oracle(request_, images / row["image"]) for row in rows]
    np.testing.assert_allclose(probabilities(rows), expected, atol=1e-5)
