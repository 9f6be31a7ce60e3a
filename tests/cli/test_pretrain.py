from __future__ import annotations

import json
from pathlib import Path

import pytest

from medfuse.workflows.phantoms import write_phantoms
from tests.cli.conftest import Shown, shown_by


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("phantoms"), patients_per_class=4)


def pretrain(images: Path, out: Path, *more: object) -> Shown:
    small = ("--backbone", "timm:test_resnet", "--size", 32, "--epochs", 1, "--batch-size", 8)
    return shown_by("pretrain", images, *small, "--out", out, *more)


@pytest.mark.slow
def test_a_source_is_made_and_told_of(images, tmp_path):
    shown = pretrain(images, tmp_path / "out", "--set", "views.flip=left_right")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0] == "images   24 of 1 sets"
    assert lines[-1] == f"source   {tmp_path / 'out'}"
    assert "learning from 24 images" in shown.err
    again = pretrain(images, tmp_path / "out", "--set", "views.flip=left_right", "--json")
    assert json.loads(again.out)["settings"]["views"]["flip"] == "left_right"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--set", "views.flp=all"), "--set views.flp=all: unknown key 'views.flp'"),
        (("--backbone", "timm:test_resnet@x.pt"), "expected plugin:name alone"),
        (("--exclude", "absent"), "absent: there is no such file or folder"),
    ],
)
def test_a_mistake_is_one_line(images, tmp_path, more, message):
    shown = pretrain(images, tmp_path / "out", *more)
    assert shown.code == 1
    assert message in shown.err
    assert not (tmp_path / "out").exists()
