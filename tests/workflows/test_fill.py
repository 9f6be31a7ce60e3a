"""The bank filled beforehand, by one process or several: training computes nothing then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medfuse.cli.main import run
from medfuse.config import parse_experiment
from medfuse.features.bank import FeatureBank
from medfuse.features.forward import TranslatedForward
from medfuse.features.merge import merge_banks
from medfuse.processes import Shard
from medfuse.registry import load_registry
from medfuse.workflows import extract as extraction
from medfuse.workflows.extract import ExtractedFeatures, extract, load_networks
from medfuse.workflows.fill import fill_bank
from medfuse.workflows.prepare import prepare_cohort

from .conftest import small_experiment


def _described(images: Path, bank: Path) -> dict[str, Any]:
    sources = [{"use": "mini:resnet"}, {"use": "timm:test_resnet.random", "train": "last:1"}]
    return small_experiment(
        images, sources=sources, bundle={"graphs": False}, bank={"path": str(bank)}
    )


def _extracted(images: Path, folder: Path) -> ExtractedFeatures:
    experiment = parse_experiment(_described(images, folder))
    bank = FeatureBank(folder)
    prepared = prepare_cohort(experiment, bank, progress=False)
    inputs = {name: read.config for name, read in prepared.inputs.items()}
    networks = load_networks(experiment, load_registry(), inputs)
    return extract(experiment, prepared, networks, bank, progress=False)


@pytest.mark.slow
def test_what_fill_computed_is_all_that_training_needs(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "_PORTION", 25)
    experiment = parse_experiment(_described(images, tmp_path / "filled"))
    assert fill_bank(experiment, progress=False).computed >= 60
    again = fill_bank(experiment, progress=False)
    assert (again.known, again.computed) == (60, 0)
    found = _extracted(images, tmp_path / "filled")
    assert (found.computed, found.forwards) == (0, 0)
    assert found.activations


@pytest.mark.slow
def test_a_network_is_translated_once_for_all_portions(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.setattr(extraction, "_PORTION", 25)
    translated, plain = [], TranslatedForward._translated

    def counted(self: TranslatedForward, batch: Any) -> Any:
        translated.append(self)
        return plain(self, batch)

    monkeypatch.setattr(TranslatedForward, "_translated", counted)
    described = small_experiment(
        images,
        sources=[{"use": "mini:resnet"}],
        bank={"path": str(tmp_path / "bank"), "engine": "openvino"},
    )
    assert fill_bank(parse_experiment(described), progress=False).computed == 60
    assert len(translated) == 1


@pytest.mark.slow
def test_shares_merged_equal_the_whole(images: Path, tmp_path: Path) -> None:
    target = FeatureBank(tmp_path / "all")
    counts = []
    for rank in range(2):
        experiment = parse_experiment(_described(images, tmp_path / f"share{rank}"))

        class Apart(Shard):
            def total(self, number: int) -> int:
                return number  # as if each were on a machine of its own

        counts.append(fill_bank(experiment, Apart(rank, 2), progress=False).computed)
        merge_banks([FeatureBank(tmp_path / f"share{rank}")], target)
    whole, merged = _extracted(images, tmp_path / "whole"), _extracted(images, tmp_path / "all")
    assert sum(counts) >= 60
    assert min(counts) >= 30
    assert merged.computed == 0
    assert whole.values[0] is not None
    assert merged.values[0] is not None
    np.testing.assert_array_equal(merged.values[0], whole.values[0])


@pytest.mark.slow
def test_the_command_says_what_it_did(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(_described(images, tmp_path / "unused")))
    bank = tmp_path / "bank \N{BONE}"
    command = ["bank", "fill", str(file), "--bank", str(bank)]
    assert run(command) == 0
    assert capsys.readouterr().out.endswith("computed\n")
    assert not (tmp_path / "unused").exists()
    assert run([*command, "--json"]) == 0
    assert capsys.readouterr().out == '{"known": 60, "computed": 0}\n'
    assert run(["bank", "merge", str(bank), "--bank", str(tmp_path / "other")]) == 0
    assert "of 2 recipes taken over, 0 known already" in capsys.readouterr().out
    assert run(["bank", "merge", str(tmp_path / "none"), "--bank", str(tmp_path / "other")]) == 1


@pytest.mark.slow
def test_two_processes_fill_one_bank(images: Path, tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(_described(images, tmp_path / "bank")))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "medfuse", "bank", "fill", str(file)]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, check=False, timeout=300, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert done.stdout.decode().count("computed") == 1  # one of them speaks for both
    found = _extracted(images, tmp_path / "bank")
    assert found.computed == 0
    assert found.values[0] is not None
    whole = _extracted(images, tmp_path / "whole")
    assert whole.values[0] is not None
    np.testing.assert_allclose(found.values[0], whole.values[0], rtol=0, atol=1e-4)
