from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from medfuse.cli import main
from medfuse.workflows.phantoms import write_phantoms


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("phantoms"), patients_per_class=2)


@pytest.mark.slow
def test_a_bare_cohort_needs_no_configuration(images: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main.run(["data", "preview", str(images), "--out", str(out), "--cases", "1"]) == 0
    text = capsys.readouterr().out
    assert text.split()[:3] == ["IMAGE", "GIVEN", "BECAME"]
    assert f"page     {out}/preview.html" in text
    assert (out / "preview.html").is_file()
    assert len(list((out / "plots").iterdir())) == 3


@pytest.mark.slow
def test_json_is_the_file_and_options_go_before_the_configuration(
    images: Path, tmp_path: Path, capsys
) -> None:
    file = tmp_path / "experiment.yaml"
    data = {
        "cohort": {"path": str(images)},
        "inputs": {"image": {"modality": "MR", "size": [64, 64]}},
        "augmentation": {"seed": 3, "recipe": "ct"},
        "sources": [{"use": "nothing:that_exists"}],
    }
    file.write_text(yaml.safe_dump(data))
    command = ["data", "preview", str(file), "--out", str(tmp_path / "out"), "--json"]
    assert main.run([*command, "--cases", "1", "--views", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out" / "preview.json").read_text())
    read = found["inputs"]["image"]
    assert (read["resolved"]["size"], read["resolved"]["modality"]) == ([64, 64], "MR")
    assert (read["augmentation"]["recipe"], read["augmentation"]["seed"]) == ("ct", 3)
    assert len(read["shown"]) == 3
    assert main.run([*command, "--cases", "1", "--seed", "9"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"]["image"]["augmentation"]["seed"] == 9


@pytest.mark.parametrize("count", ["-1", "many", "21"])
def test_counts_out_of_range_are_refused(images: Path, tmp_path: Path, capsys, count: str) -> None:
    command = ["data", "preview", str(images), "--out", str(tmp_path), f"--cases={count}"]
    assert main.run(command) == 2
    assert "expected 0 to 20" in capsys.readouterr().err
