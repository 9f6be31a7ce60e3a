"""Bad input: one or two lines that name the file, exit code 1, nothing half-written."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from medfuse.cli.main import run
from medfuse.workflows.phantoms import write_phantoms

from .conftest import small_experiment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A private, sound cohort to spoil."""
    return write_phantoms(tmp_path / "cohort", patients_per_class=4)


def refused(
    experiment: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    at_once: bool = True,
) -> str:
    """Train from the command line, require a refusal before training, and return its text."""
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(experiment))
    code = run(["train", str(file), "--out", str(tmp_path / "run"), "--quiet"])
    error = capsys.readouterr().err
    assert code == 1, error
    lines = [line for line in error.splitlines() if line.strip()]
    assert lines[0].startswith("medfuse: error: "), error
    assert len(lines) <= 2, error
    assert "Traceback" not in error
    assert not list((tmp_path / "run").glob("**/*_classification")), "a bundle was left behind"
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert not (tmp_path / "run" / "report.html").exists()
    assert not (at_once and (tmp_path / "run").exists())
    return error


def first_image(folder: Path) -> Path:
    return sorted((folder / "nodule").glob("*.png"))[0]


def empty_folder(folder: Path) -> str:
    shutil.rmtree(folder)
    folder.mkdir()
    return str(folder)


def one_class(folder: Path) -> str:
    shutil.rmtree(folder / "nodule")
    shutil.rmtree(folder / "effusion")
    return "class"


def class_with_one_case(folder: Path) -> str:
    for file in sorted((folder / "nodule").glob("*.png"))[1:]:
        file.unlink()
    return "nodule"


def zero_bytes(folder: Path) -> str:
    first_image(folder).write_bytes(b"")
    return first_image(folder).name


def truncated(folder: Path) -> str:
    first_image(folder).write_bytes(first_image(folder).read_bytes()[:2000])
    return first_image(folder).name


def text_as_png(folder: Path) -> str:
    first_image(folder).write_text("I am not an image")
    return first_image(folder).name


def sixteen_bit_beside_eight(folder: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 4096, (160, 160)).astype(np.uint16)
    Image.fromarray(pixels).save(first_image(folder))
    return first_image(folder).name


def array_with_nan(folder: Path) -> str:
    array = np.full((32, 32), np.nan, dtype=np.float32)
    np.save(folder / "nodule" / "p0012_9.npy", array)
    return "p0012_9.npy"


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        empty_folder,
        one_class,
        class_with_one_case,
        zero_bytes,
        truncated,
        text_as_png,
        sixteen_bit_beside_eight,
        array_with_nan,
    ],
)
def test_bad_cohort_is_refused_by_name(
    spoil: Callable[[Path], str],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = spoil(folder)
    assert named in refused(small_experiment(folder), tmp_path, capsys)


@pytest.mark.slow
def test_bad_image_may_be_skipped_and_is_counted(folder: Path, tmp_path: Path) -> None:
    truncated(folder)
    experiment = small_experiment(folder)
    experiment["cohort"]["on_bad_image"] = "skip"
    experiment["evaluation"] = {"bootstrap": 0, "baselines": False}
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(experiment))
    assert run(["train", str(file), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["events"]["TRUNCATED"] == 1


def table(folder: Path, rows: list[str]) -> str:
    file = folder / "table.csv"
    file.write_text("\n".join(["case_id,image,label", *rows]) + "\n")
    return str(file)


def test_label_outside_the_class_list_names_the_row(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = small_experiment(folder)
    rows = ["a,clear/p0000_0.png,clear", "b,nodule/p0008_0.png,nodul"]
    experiment["cohort"] = {"path": table(folder, rows), "classes": ["clear", "nodule"]}
    error = refused(experiment, tmp_path, capsys)
    assert "nodul" in error
    assert 'Did you mean "nodule"?' in error


def test_duplicate_case_id_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = small_experiment(folder)
    rows = ["a,clear/p0000_0.png,clear", "a,nodule/p0008_0.png,nodule"]
    experiment["cohort"] = {"path": table(folder, rows)}
    assert "'a'" in refused(experiment, tmp_path, capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainig": {}}, 'Did you mean "training"?'),
        ({"sources": [{"use": "timm:resnet1.random"}]}, "Did you mean"),
        ({"sources": [{"use": "tim:resnet18.random"}]}, 'Did you mean "timm"?'),
        ({"sources": [{"use": "timm:resnet18@absent.safetensors"}]}, "absent.safetensors"),
        ({"fusion": {"use": "atention"}}, 'Did you mean "attention"?'),
        ({"head": {"use": "mlp", "hiden": 3}}, 'Did you mean "hidden"?'),
        ({"head": {"use": "sigmoid"}}, "2 classes"),
        ({"training": {"members": 1, "epochs": 0}}, "training.epochs"),
        ({"sources": [{"use": "timm:test_resnet.random", "cut": "layer99"}]}, "layer99"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_bad_configuration_says_what_is_known(
    change: dict[str, Any],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in refused(small_experiment(folder, **change), tmp_path, capsys)


def weights_file(tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    import timm

    state = dict(timm.create_model("test_resnet", num_classes=0).state_dict())
    change(state)
    file = tmp_path / "weights.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, file)
    return file


@pytest.mark.parametrize(
    ("change", "extra", "message"),
    [
        (lambda state: state.pop("conv1.0.weight"), {}, "conv1.0.weight"),
        (lambda state: state.update(more=torch.zeros(1)), {}, "more"),
        (lambda state: None, {"sha256": "0" * 64}, "sha256|digest|SHA-256"),
    ],
    ids=["missing key", "extra key", "wrong digest"],
)
def test_weights_that_do_not_fit_are_named(
    change: Callable[[dict[str, torch.Tensor]], None],
    extra: dict[str, str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = weights_file(tmp_path, change)
    source = {"use": f"timm:test_resnet@{file}", **extra}
    error = refused(small_experiment(folder, sources=[source]), tmp_path, capsys)
    assert any(word in error for word in message.split("|")), error
    assert "weights.safetensors" in error


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
@pytest.mark.parametrize("size", [2_000, 40_000, 100_000])
def test_full_disk_is_one_line_and_leaves_no_half_bundle(
    size: int, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = small_experiment(folder, bank={"path": str(tmp_path / "bank")})
    with largest_file(size):
        refused(experiment, tmp_path, capsys, at_once=False)


def test_absent_cohort_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(small_experiment(tmp_path / "nowhere"), tmp_path, capsys)
    assert "nowhere" in error
