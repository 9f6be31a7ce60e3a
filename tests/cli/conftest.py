"""One small run, trained from the command line, shared by the tests of the commands."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from medfuse.cli.main import run
from medfuse.workflows.phantoms import write_phantoms


class Terminal(io.StringIO):
    """A stream that bars are drawn on."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Shown:
    """What a command returned and printed."""

    code: int
    out: str
    err: str


def shown_by(*arguments: object) -> Shown:
    """Run a command as on a terminal."""
    out, err = io.StringIO(), Terminal()
    logging.getLogger("medfuse").handlers.clear()  # one of an earlier command has its stream
    with redirect_stdout(out), redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Shown(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Trained:
    """A finished run and how it came about."""

    images: Path
    folder: Path
    command: tuple[object, ...]
    shown: Shown

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle" / "tiny_classification"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of two tiny untrained networks, by options alone."""
    root = tmp_path_factory.mktemp("cli")
    images = write_phantoms(root / "images", patients_per_class=6)
    changes = ["name=tiny", "inputs.image.size=[48,48]", "training.epochs=2", "training.members=2"]
    changes += ["evaluation.bootstrap=20", f"bank.path={root / 'bank'}"]
    command = (
        "train", images,
        "--source", "timm:test_resnet.random",
        "--source", "{use: timm:test_convnext.random, train: frozen}",
        "--fusion", "concat",
        "--head", "{use: mlp, hidden: 8}",
        "--modality", "XR",
        "--group-pattern", r"p(\d+)_",
        *(part for change in changes for part in ("--set", change)),
        "--out", root / "run",
    )  # fmt: skip
    return Trained(images, root / "run", command, shown_by(*command))
