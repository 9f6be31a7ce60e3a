"""A bundle of a volume, an image and a table row, with cases that lack some of them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from medfuse.bundle.export import export_bundle
from medfuse.bundle.names import check_request
from medfuse.errors import BundleError
from medfuse.exporters.quiet import quiet_torchscript
from medfuse.preprocessing import Preprocessing


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def bundle(written) -> Path:
    return written["several"]


@pytest.fixture(scope="module")
def network(requests_):
    return requests_["several"].network


@pytest.fixture(scope="module")
def batch(cases: Path, generated) -> tuple[torch.Tensor, ...]:
    """What training sees of the cases, with NaN for what is missing."""
    with (cases / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [{k: row[k] for k in ("age", "sex") if row[k]} for row in rows]
    references = {
        "ct": [row["ct"] and str(cases / row["ct"]) for row in rows],
        "xray": [row["xray"] and str(cases / row["xray"]) for row in rows],
        "clinical": [json.dumps(row, sort_keys=True) if row else "" for row in cells],
    }
    shapes = {"ct": (1, 24, 20, 12), "xray": (1, 40, 48), "clinical": (5,)}
    configs = {"ct": generated.VOLUME, "xray": generated.PICTURE, "clinical": generated.TABLE}
    return tuple(
        torch.stack(
            [
                torch.from_numpy(Preprocessing(configs[name]).load(reference).pixels)
                if reference
                else torch.full(shapes[name], torch.nan)
                for reference in references[name]
            ]
        )
        for name in shapes
    )


@pytest.fixture(scope="module")
def expected(network, batch) -> np.ndarray:
    with torch.inference_mode():
        return network(*batch).softmax(-1).numpy()


def probabilities(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(v) for k, v in row.items() if k.startswith("prob_")] for row in rows])


@pytest.mark.parametrize("configs", [(), ("inference.json", "inference_ts.json")])
def test_every_pattern_of_inputs_gives_the_probabilities_of_the_trained_network(
    configs: tuple[str, ...], bundle: Path, cases: Path, expected, run_rows, tmp_path: Path
) -> None:
    rows = run_rows(bundle, cases, tmp_path / "out", *configs)
    assert [(row["case_id"], row["inputs"]) for row in rows] == [
        ("all", "ct;xray;clinical"),
        ("no-ct", "xray;clinical"),
        ("no-xray", "ct;clinical"),
        ("no-row", "ct;xray"),
        ("row", "clinical"),
    ]
    np.testing.assert_allclose(probabilities(rows), expected, atol=1e-5)
    assert len({round(float(p), 4) for p in expected[:, 0]}) == len(rows)


def test_predictions_json_says_the_same(bundle: Path, cases: Path, monai_run, tmp_path) -> None:
    monai_run(bundle, cases, tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (rows[1]["case_id"], rows[1]["inputs"]) == ("no-ct", "xray;clinical")
    assert sum(rows[1]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_onnx_and_torchscript_take_the_inputs_by_name_and_nan_for_missing(
    bundle: Path, network, batch, expected
) -> None:
    session = onnxruntime.InferenceSession(
        str(bundle / "models" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [i.name for i in session.get_inputs()]
    assert names == ["ct", "xray", "clinical"]
    fed = {name: image.numpy() for name, image in zip(names, batch, strict=True)}
    logits, features = session.run(["pred", "features"], fed)
    np.testing.assert_allclose(torch.tensor(logits).softmax(-1), expected, atol=1e-5)
    with quiet_torchscript():
        traced = torch.jit.load(bundle / "models" / "model.ts")
    with torch.inference_mode():
        np.testing.assert_allclose(traced(*batch).softmax(-1), expected, atol=1e-5)
        wanted, found = network.features(*batch), traced.features(*batch)
    scale = float(wanted.abs().max())
    np.testing.assert_allclose(features, wanted, atol=1e-4 * scale)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * scale)


def test_metadata_has_each_input_in_the_order_of_the_network(bundle: Path) -> None:
    document = json.loads((bundle / "configs" / "metadata.json").read_text())
    inputs = document["network_data_format"]["inputs"]
    assert {
        name: (i["type"], i["num_channels"], i["spatial_shape"]) for name, i in inputs.items()
    } == {
        "ct": ("image", 1, [24, 20, 12]),
        "xray": ("image", 1, [40, 48]),
        "clinical": ("tabular", 5, []),
    }
    assert document["task"] == "Classification of cases of CT volumes, X-ray images and table rows"
    assert "configs/train.json" in document["medfuse"]["left_out"]
    assert not (bundle / "configs" / "train.json").exists()


def test_the_document_is_valid_by_monai_s_public_schema(bundle: Path, repository: Path) -> None:
    import jsonschema

    path = repository.parent / "shared" / "schema" / "meta_schema_20240725.json"
    if not path.is_file():
        pytest.skip("promise not shown: MONAI's schema is not beside the repository")
    document = json.loads((bundle / "configs" / "metadata.json").read_text())
    jsonschema.validate(document, json.loads(path.read_text()))


def test_the_card_says_how_a_table_of_cases_looks(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    assert "`cases.csv` (columns `case_id`, `ct`, `xray`, `age`, `sex`; paths relative" in card
    assert "medfuse predict $B $IN/cases.csv" in card
    assert "MONAI Label and MONAI Deploy hand a network one image" in card


def edited(cases: Path, folder: Path, change) -> Path:
    """A copy of the table with absolute paths, after ``change(rows)``."""
    with (cases / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row |= {k: str(cases / row[k]) for k in ("ct", "xray") if row[k]}
    change(rows)
    folder.mkdir()
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_a_case_with_no_input_stops_the_run(
    bundle: Path, cases: Path, monai_run, tmp_path: Path
) -> None:
    blank = dict.fromkeys(("ct", "xray", "age", "sex"), "")
    folder = edited(cases, tmp_path / "in", lambda rows: rows[1].update(blank))
    with pytest.raises(RuntimeError) as caught:
        monai_run(bundle, folder, tmp_path / "out")
    assert "case 2 of" in str(caught.getrepr(chain=True))
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_a_broken_input_stops_the_run_and_is_not_taken_for_missing(
    bundle: Path, cases: Path, monai_run, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    bad = str(tmp_path / "bad.png")
    folder = edited(cases, tmp_path / "in", lambda rows: rows[0].update(xray=bad))
    with pytest.raises(RuntimeError) as caught:
        monai_run(bundle, folder, tmp_path / "out")
    assert "ImageFileError" in str(caught.getrepr(chain=True))
    assert not (tmp_path / "out" / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "xray"}, "each with a name of its own"),
        ({"name": "x ray"}, "each with a name of its own"),
        ({"name": "case_id"}, "case_id has a name that MONAI or the table"),
        ({"size": (3, 3)}, r"expected at least one channel and a size \(H, W, D\)"),
    ],
)
def test_inputs_that_cannot_be_told_apart_or_built_are_refused(
    requests_, changes: dict, message: str
) -> None:
    first, *others = requests_["several"].inputs
    request = replace(requests_["several"], inputs=(replace(first, **changes), *others))
    nodes = {**request.preprocessing_nodes, request.inputs[0].name: ({},)}
    with pytest.raises(BundleError, match=message):
        check_request(replace(request, preprocessing_nodes=nodes))


def test_rows_without_columns_are_refused(requests_) -> None:
    *others, row = requests_["several"].inputs
    with pytest.raises(BundleError, match="clinical names no columns"):
        check_request(replace(requests_["several"], inputs=(*others, replace(row, columns=()))))


def test_a_monai_label_app_of_it_is_refused_with_what_to_use_instead(
    bundle: Path, tmp_path: Path
) -> None:
    found = "inputs ct, xray and clinical, but MONAI Label hands a network one image"
    with pytest.raises(BundleError, match=f"{found}.*medfuse predict"):
        export_bundle(bundle, "label", tmp_path / "app")
    assert not (tmp_path / "app").exists()
