"""Shared fixtures: the optional real data, and quiet, private caches."""

from __future__ import annotations

import importlib.util
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from medfuse.memory import collect_seldom

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Let Ctrl-C interrupt: a shell starts background jobs with SIGINT ignored."""
    collect_seldom()  # as the command does
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _private_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or writes the user's own bank."""
    monkeypatch.setenv("MEDFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))


def _shared(name: str) -> Path:
    folder = REPOSITORY.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"promise not shown: real {name} needs ../shared/{name}, which is absent")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real image sets."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of the two genuine ImageNet backbones."""
    return _shared("weights")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say last how many promises this run did not show; ``-ra`` lists them with their reasons."""
    yield
    skipped = len(terminalreporter.stats.get("skipped", []))
    terminalreporter.write_line(f"promises not shown here (skipped tests): {skipped}")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo what a command line run in process does to the logger.

    A fixture of a module that ran one has left a handler that writes to what stderr was then.
    """
    logger = logging.getLogger("medfuse")
    before = ([], logger.level, logger.propagate)
    logger.handlers.clear()
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture(autouse=True)
def _no_bundle_code_left() -> Iterator[None]:
    """Forget the ``scripts`` package of a bundle that ran in process: every bundle has one."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [n for n in sys.modules if n == "scripts" or n.startswith("scripts.")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """Maker of DICOM files with a known truth."""
    path = REPOSITORY / "tests" / "data" / "dicom" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("synthetic_dicom", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
