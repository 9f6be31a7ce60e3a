from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medfuse.bundle import write as write_module
from medfuse.bundle.digests import check_digests
from medfuse.bundle.write import plain, write_bundle
from medfuse.errors import BundleError, PluginError


def test_all_files_are_there_and_have_their_digests(bundle: Path) -> None:
    found = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert bundle.name == "tiny_classification"
    assert {
        "LICENSE",
        "SHA256SUMS",
        "configs/metadata.json",
        "configs/inference.json",
        "configs/inference_ts.json",
        "configs/train.json",
        "configs/logging.conf",
        "models/model.pt",
        "models/model.ts",
        "docs/README.md",
        "scripts/__init__.py",
        "scripts/model.py",
        "scripts/bundle_prediction_writer.py",
    } <= found
    check_digests(bundle)


def test_weights_are_a_bare_state_dict(bundle: Path, request_) -> None:
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert list(state) == list(request_.network.state_dict())


def test_no_file_names_a_case_or_a_place_on_this_machine(
    bundle: Path, images: Path, request_
) -> None:
    repository = str(Path(write_module.__file__).parents[2])
    secrets = [repository, str(images), "patient-0", str(Path.home()) + "/", str(bundle.parent)]
    assert request_.examples[0].startswith(str(images))
    for path in bundle.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [s for s in secrets if s.encode() in content], path


def test_nothing_imports_medfuse(bundle: Path) -> None:
    for path in (bundle / "scripts").rglob("*.py"):
        assert "import medfuse" not in path.read_text()
        assert "from medfuse" not in path.read_text()


def test_the_network_is_given_back_as_it_was(request_for, tmp_path: Path) -> None:
    request = request_for(graphs=False)
    request.network.train()
    write_bundle(request, tmp_path)
    assert request.network.training


def test_a_second_write_replaces_the_first_as_a_whole(request_for, tmp_path: Path) -> None:
    first = write_bundle(request_for(graphs=False), tmp_path)
    (first / "left-over").write_text("")
    second = write_bundle(request_for(classes=("a", "b"), graphs=False), tmp_path)
    assert second == first
    assert not (second / "left-over").exists()
    assert json.loads((second / "configs" / "inference.json").read_text())["class_names"] == [
        "a",
        "b",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["tiny_classification"]


def test_what_is_left_out_is_recorded_and_said(
    request_for, tmp_path: Path, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(write_module, "write_onnx", lambda *_: "not installed: onnx")
    with caplog.at_level("WARNING", logger="medfuse"):
        root = write_bundle(request_for(), tmp_path)
    left_out = json.loads((root / "configs" / "metadata.json").read_text())["medfuse"]["left_out"]
    assert left_out == {"models/model.onnx": "not installed: onnx"}
    assert "`models/model.onnx`: not installed: onnx" in (root / "docs" / "README.md").read_text()


def test_a_check_that_fails_leaves_the_bundle_that_was_there(request_for, tmp_path: Path) -> None:
    first = write_bundle(request_for(graphs=False), tmp_path)
    before = (first / "SHA256SUMS").read_text()

    def refuse(root: Path) -> None:
        assert (root / "SHA256SUMS").is_file()
        raise BundleError("no")

    with pytest.raises(BundleError, match="no"):
        write_bundle(request_for(classes=("a", "b"), graphs=False), tmp_path, refuse)
    assert (first / "SHA256SUMS").read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["tiny_classification"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_write_leaves_nothing(
    request_for, tmp_path: Path, monkeypatch, stop: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise stop

    monkeypatch.setattr(write_module, "write_digests", fail)
    with pytest.raises(stop):
        write_bundle(request_for(graphs=False), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_no_bundle_stay(request_, tmp_path: Path) -> None:
    (tmp_path / "tiny_classification").mkdir()
    (tmp_path / "tiny_classification" / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        write_bundle(request_, tmp_path)
    assert (tmp_path / "tiny_classification" / "thesis.txt").read_text() == "mine"


def test_nodes_that_rebuild_another_network_are_refused(request_, tmp_path: Path) -> None:
    node = {**request_.network_node, "sources": request_.network_node["sources"][:1]}
    with pytest.raises(BundleError, match="weights cannot be loaded"):
        write_bundle(replace(request_, network_node=node, graphs=False), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nodes_that_forget_a_setting_are_refused_by_their_result(request_, tmp_path: Path) -> None:
    sources = [
        {**node, "adapter": {**node["adapter"], "input_range": [-1.0, 1.0]}}
        for node in request_.network_node["sources"]
    ]
    node = {**request_.network_node, "sources": sources}
    with pytest.raises(BundleError, match=r"rebuilt network differs by .* in probability"):
        write_bundle(replace(request_, network_node=node, graphs=False), tmp_path)


def test_targets_that_do_not_exist_are_refused_with_the_first_cause(
    request_, tmp_path: Path
) -> None:
    node = {**request_.network_node, "_target_": "scripts.model.Nothing"}
    with pytest.raises(BundleError, match="cannot be built from its own files .*Nothing"):
        write_bundle(replace(request_, network_node=node, graphs=False), tmp_path)


def test_vendored_modules_that_need_medfuse_are_refused(request_, tmp_path: Path) -> None:
    vendored = (*request_.vendored, "medfuse.storage")
    with pytest.raises(PluginError, match="imports filelock|imports medfuse"):
        write_bundle(replace(request_, vendored=vendored), tmp_path)


def test_distributions_that_are_not_installed_are_refused(request_, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="'no-such-distribution' is required"):
        write_bundle(replace(request_, requires=("no-such-distribution",)), tmp_path)


def test_preprocessing_of_another_size_is_refused(request_, tmp_path: Path) -> None:
    nodes = request_.preprocessing_nodes["image"]
    nodes = {"image": tuple(n for n in nodes if n["_target_"] != "Resized")}
    with pytest.raises(BundleError, match=r"preprocessing gives \(1, 50, 60\)"):
        write_bundle(replace(request_, preprocessing_nodes=nodes, graphs=False), tmp_path)


def test_undefined_metrics_become_null() -> None:
    assert plain({"a": float("nan"), "b": [1.0, float("inf")]}) == {"a": None, "b": [1.0, None]}


def test_without_graphs_a_bundle_is_small_and_says_why(request_for, tmp_path: Path) -> None:
    root = write_bundle(request_for(graphs=False), tmp_path)
    assert [p.name for p in (root / "models").iterdir()] == ["model.pt"]
    left_out = json.loads((root / "configs/metadata.json").read_text())["medfuse"]["left_out"]
    names = ["models/model.ts", "models/model.onnx", "configs/inference_ts.json"]
    assert [name for name in names if "bundle.graphs" in left_out[name]] == names
    assert not any((root / name).exists() for name in names)
    assert "- `models/model.ts`: not asked for" in (root / "docs/README.md").read_text()
    check_digests(root)


def test_small_weights_are_the_same_numbers(request_for, tmp_path: Path) -> None:
    request = request_for(graphs=False)
    with torch.no_grad():
        whole, *_ = (p for p in request.network.parameters() if p.ndim > 1)
        whole.copy_(whole.half().float())
    root = write_bundle(request, tmp_path)
    stored = torch.load(root / "models/model.pt", weights_only=True)
    assert {t.dtype for t in stored.values()} >= {torch.float16, torch.float32}
    for name, tensor in request.network.state_dict().items():
        assert torch.equal(stored[name].to(tensor.dtype), tensor), name


def test_what_exists_only_as_a_graph_cannot_leave_it_out(request_for, tmp_path: Path) -> None:
    request = request_for(graphs=False, network_node=None, graph_only=("source x is traced",))
    with pytest.raises(BundleError, match="graphs is false, but source x is traced"):
        write_bundle(request, tmp_path)


def test_references_of_the_data_stand_beside_those_of_the_sources(
    request_for, tmp_path: Path
) -> None:
    root = write_bundle(request_for(references=("A and B, 2020",), graphs=False), tmp_path)
    assert "A and B, 2020" in json.loads((root / "configs/metadata.json").read_text())["references"]
