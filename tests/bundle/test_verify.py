from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from medfuse.bundle.digests import write_digests
from medfuse.bundle.verifier import file_checks, run_checks
from medfuse.bundle.verifier.subject import Bundle, CheckFailedError, CheckSkippedError
from medfuse.bundle.verify import verify_bundle
from medfuse.bundle.write import write_bundle
from medfuse.errors import BundleError


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Bundle:
    root = tmp_path / bundle.name
    shutil.copytree(bundle, root)
    return Bundle({"bundle": str(root), "work": str(tmp_path / "work"), "schema": None})


def edit(root: Path, change: Callable[[dict], None], name: str = "metadata.json") -> None:
    path = root / "configs" / name
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.slow
def test_a_good_bundle_passes_every_check(bundle: Path, repository: Path) -> None:
    schema = repository.parent / "shared" / "schema" / "meta_schema_20240725.json"
    report = verify_bundle(bundle, schema if schema.is_file() else None)
    assert [c for c in report.checks if c.status == "failed"] == []
    assert report.ok
    details = {check.name: check.detail for check in report.checks}
    assert "model.ts" in details["agreement"]
    assert "model.onnx" in details["agreement"]
    assert details["isolation"] == "medfuse is not importable here"
    assert not list(bundle.rglob("__pycache__"))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["solid", "sliced", "several"])
def test_bundles_of_volumes_and_of_several_inputs_pass_every_check(
    written, name: str, repository: Path
) -> None:
    schema = repository.parent / "shared" / "schema" / "meta_schema_20240725.json"
    report = verify_bundle(written[name], schema if schema.is_file() else None)
    assert [c for c in report.checks if c.status == "failed"] == []
    details = {check.name: check.detail for check in report.checks}
    assert "model.onnx" in details["agreement"]
    if name == "several":
        assert details["net_in_out"].startswith("inputs ct, xray, clinical")
        assert details["sample_run"].endswith(", and 3 that lack an input")
        assert details["train_properties"].startswith("this bundle cannot be trained")
        assert details["labelled_run"].endswith("class folders cannot hold cases of a table")
    assert not list(written[name].rglob("__pycache__"))


@pytest.mark.slow
@pytest.mark.long
def test_a_network_that_reads_a_missing_input_as_zeros_fails(written, tmp_path: Path) -> None:
    """Complete cases agree, so that only a batch with a missing input can show it."""
    root = Path(shutil.copytree(written["several"], tmp_path / "several_classification"))
    path = root / "scripts" / "model.py"
    text = path.read_text()
    changed = text.replace(
        "return ~torch.isnan(image).flatten(1).any(1)",
        "return torch.ones_like(image.flatten(1)[:, 0], dtype=torch.bool)",
    ).replace(
        "filled: Tensor = source(torch.where(present.view(axes), image, 0.0))",
        "filled: Tensor = source(image.nan_to_num(0.0))",
    )
    assert changed.count("nan_to_num") == changed.count("ones_like(image") == 1
    path.write_text(changed)
    write_digests(root)
    failed = {c.name: c.detail for c in verify_bundle(root).checks if c.status == "failed"}
    assert {"agreement", "traced_run"} <= set(failed)
    assert "differs from the network" in failed["agreement"]


def test_code_in_a_folder_of_scripts_is_checked_too(written, tmp_path: Path) -> None:
    root = Path(shutil.copytree(written["solid"], tmp_path / "solid_classification"))
    subject = Bundle({"bundle": str(root), "work": str(tmp_path / "work"), "schema": None})
    assert (root / "scripts" / "data_dicom" / "worker.py").is_file()
    assert file_checks.check_digests(subject)
    (root / "scripts" / "data_dicom" / "extra.py").write_text("")
    with pytest.raises(CheckFailedError, match="data_dicom/extra.py: not named in SHA256SUMS"):
        file_checks.check_digests(subject)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda inputs: inputs.pop("xray"), "exactly inputs ct, xray, clinical, and one output"),
        (lambda inputs: inputs["clinical"].update(type="image"), "inputs: type image"),
    ],
)
def test_metadata_that_leave_an_input_out_fail(
    written, tmp_path: Path, change: Callable[[dict], None], message: str
) -> None:
    root = Path(shutil.copytree(written["several"], tmp_path / "several_classification"))
    subject = Bundle({"bundle": str(root), "work": str(tmp_path / "work"), "schema": None})
    assert file_checks.check_metadata(subject)
    edit(root, lambda d: change(d["network_data_format"]["inputs"]))
    with pytest.raises(CheckFailedError, match=message):
        file_checks.check_metadata(subject)


@pytest.mark.slow
def test_a_bad_bundle_fails_where_it_is_bad_and_is_checked_to_the_end(copy: Bundle) -> None:
    root = copy.root
    text = (root / "scripts" / "heads_linear.py").read_text()
    (root / "scripts" / "heads_linear.py").write_text(
        text.replace("logits: Tensor = self.linear(", "logits: Tensor = 2 * self.linear(")
    )
    edit(root, lambda d: d.pop("initialize"), "inference.json")
    edit(root, lambda d: d["train"].pop("trainer"), "train.json")
    edit(root, lambda d: d["handlers"].pop(), "evaluate.json")
    write_digests(root)
    report = verify_bundle(root)
    failed = {check.name for check in report.checks if check.status == "failed"}
    assert not report.ok
    assert {"agreement", "traced_run", "train_properties", "empty_input"} <= failed
    assert {"multi_gpu_properties", "labelled_run"} <= failed
    assert report.checks[-1].name == "multi_gpu_properties"
    assert {"net_in_out", "weights"}.isdisjoint(failed)


@pytest.mark.slow
def test_weights_that_leave_something_over_fail(copy: Bundle) -> None:
    import torch

    path = copy.root / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "extra": torch.zeros(1)}, path)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        import sys

        kept = list(sys.path)
        try:
            copy.network()
        finally:
            sys.path[:] = kept
            for name in [n for n in sys.modules if n.partition(".")[0] == "scripts"]:
                del sys.modules[name]


def test_a_graph_that_gives_no_numbers_fails(copy: Bundle, monkeypatch) -> None:
    """The logits come first and agree: only a comparison that keeps NaN can show it."""
    import torch

    from medfuse.exporters.quiet import quiet_torchscript

    class Spoiled(torch.nn.Module):
        def __init__(self, graph: torch.nn.Module) -> None:
            super().__init__()
            self.graph = graph

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.graph(image)

        def features(self, image: torch.Tensor) -> torch.Tensor:
            return self.graph.features(image) * float("nan")

    path = copy.root / "models" / "model.ts"
    monkeypatch.syspath_prepend(str(copy.root))
    with quiet_torchscript():
        graph = Spoiled(torch.jit.load(path))
        example = dict.fromkeys(("forward", "features"), copy.fixed_input())
        torch.jit.save(torch.jit.trace_module(graph, example, check_trace=False), path)
        with pytest.raises(CheckFailedError, match=r"model\.ts differs from the network by nan"):
            run_checks.check_agreement(copy)


def test_a_loader_that_can_be_left_out_fails(copy: Bundle) -> None:
    edit(copy.root, lambda d: d.update(handlers=[{"_disabled_": True}]), "inference.json")
    with pytest.raises(CheckFailedError, match="a node has '_disabled_'"):
        run_checks.check_weights(copy)


def test_weights_that_no_digest_names_fail(copy: Bundle) -> None:
    sums = copy.root / "SHA256SUMS"
    lines = [x for x in sums.read_text().splitlines(True) if not x.endswith("models/model.pt\n")]
    sums.write_text("".join(lines))
    with pytest.raises(
        CheckFailedError, match=r"model\.pt: not named in SHA256SUMS, but part of what decides"
    ):
        file_checks.check_digests(copy)


def test_missing_files_are_named(copy: Bundle) -> None:
    (copy.root / "models" / "model.ts").unlink()
    with pytest.raises(CheckFailedError, match=r"missing: models/model\.ts"):
        file_checks.check_files(copy)


def test_graphs_that_were_left_out_by_intention_are_not_missed(request_for, tmp_path: Path) -> None:
    root = write_bundle(request_for(graphs=False), tmp_path)
    subject = Bundle({"bundle": str(root), "work": str(tmp_path / "work"), "schema": None})
    assert file_checks.check_files(subject)
    for check in (run_checks.check_agreement, run_checks.check_traced_run):
        with pytest.raises(CheckSkippedError, match=r"models/model\.ts: not asked for"):
            check(subject)
    (root / "models" / "model.pt").unlink()
    with pytest.raises(CheckFailedError, match=r"missing: models/model\.pt"):
        file_checks.check_files(subject)


def test_folders_without_classification_in_their_name_fail(copy: Bundle) -> None:
    copy.root = copy.root.rename(copy.root.with_name("tiny"))
    with pytest.raises(CheckFailedError, match="lacks 'classification'"):
        file_checks.check_names(copy)


def test_class_names_that_label_would_merge_fail(copy: Bundle) -> None:
    names = {"0": "normal", "1": "Normal", "2": "x"}
    edit(
        copy.root,
        lambda d: d["network_data_format"]["outputs"]["pred"].update(channel_def=names),
    )
    with pytest.raises(CheckFailedError, match="not unique in lower case"):
        file_checks.check_names(copy)


def test_class_names_that_differ_between_files_fail(copy: Bundle) -> None:
    edit(copy.root, lambda d: d.update(class_names=["a", "b", "c"]), "inference.json")
    with pytest.raises(CheckFailedError, match="are not those of channel_def"):
        file_checks.check_names(copy)


def test_files_that_run_code_when_loaded_fail(copy: Bundle) -> None:
    (copy.root / "models" / "model.pkl").write_bytes(b"")
    with pytest.raises(CheckFailedError, match=r"models/model\.pkl: a file of this kind"):
        file_checks.check_contents(copy)


def test_weights_with_pickled_code_fail(copy: Bundle) -> None:
    import torch

    torch.save({"x": subprocess.Popen}, copy.root / "models" / "model.pt")
    with pytest.raises(CheckFailedError, match=r"model\.pt, .*data\.pkl: a pickle that calls"):
        file_checks.check_contents(copy)


def test_paths_of_a_machine_fail(copy: Bundle) -> None:
    edit(copy.root, lambda d: d.update(data_source="/home/doctor/cases"))
    with pytest.raises(CheckFailedError, match="holds a path of a machine, /home/doctor"):
        file_checks.check_contents(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("version"), "version is None, expected str"),
        (lambda d: d.update(supported_apps=[]), r"supported_apps is \[\], expected dict"),
        (lambda d: d.update(version="9"), "changelog does not name version 9"),
        (
            lambda d: d["network_data_format"]["inputs"].update(mask={}),
            "exactly one input, image",
        ),
        (
            lambda d: d["network_data_format"]["outputs"]["pred"].update(type="probability"),
            "type probability",
        ),
        (
            lambda d: d["network_data_format"]["outputs"]["pred"]["channel_def"].pop("1"),
            "channel_def is not complete from 0 to 2",
        ),
        (
            lambda d: d["network_data_format"]["inputs"]["image"].update(value_range=None),
            "value_range is None, expected list",
        ),
    ],
)
def test_metadata_that_some_reader_cannot_use_fails(
    copy: Bundle, change: Callable[[dict], None], message: str
) -> None:
    assert file_checks.check_metadata(copy)
    edit(copy.root, change)
    with pytest.raises(CheckFailedError, match=message):
        file_checks.check_metadata(copy)


def test_the_public_schema_is_skipped_where_it_is_not_given(copy: Bundle) -> None:
    with pytest.raises(CheckSkippedError, match="--schema FILE"):
        file_checks.check_schema(copy)


def test_a_process_that_can_import_medfuse_shows_nothing(copy: Bundle) -> None:
    with pytest.raises(CheckFailedError, match="nothing would be shown"):
        file_checks.check_imports(copy)


def test_folders_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    with pytest.raises(BundleError, match="no such folder"):
        verify_bundle(tmp_path / "absent")
    with pytest.raises(BundleError, match="no such file. Give MONAI's metadata schema"):
        verify_bundle(tmp_path, schema=tmp_path / "absent.json")


def test_a_verifier_that_takes_too_long_is_stopped(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"not verified within 0\.01 s"):
        verify_bundle(bundle, timeout=0.01)


def test_a_bundle_that_ends_the_process_is_an_error(tmp_path: Path, monkeypatch) -> None:
    from medfuse.bundle import verify

    (tmp_path / "configs").mkdir()
    monkeypatch.setattr(verify, "_LAUNCH", "import sys; sys.exit('gone')")
    with pytest.raises(BundleError, match=r"ended with status 1 before any result \(gone\)"):
        verify_bundle(tmp_path)
