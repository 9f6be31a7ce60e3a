"""The suites of `make test-slow`: all of them run, and one that fails is not lost among them."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parents[1] / ".ci"
# What continuous integration calls, this program, and what a developer calls.
OTHERS = {"run", "slow", "lock"}


def lanes() -> list[str]:
    lines = re.findall(r"^lane (.*) & ", (CI / "slow").read_text(), re.MULTILINE)
    return " ".join(lines).split()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder whose suites say their name and end well."""
    folder = tmp_path / ".ci"
    folder.mkdir()
    shutil.copy(CI / "slow", folder)
    for name in lanes():
        (folder / name).write_text(f"echo this is {name}\necho beside it >&2\n")
    return tmp_path


def slow(clone: Path, *names: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(clone / ".ci" / "slow"), *names]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def test_every_suite_is_in_one_lane() -> None:
    suites = {path.name for path in CI.iterdir() if not path.suffix} - OTHERS
    assert sorted(lanes()) == sorted(suites)


def test_all_suites_run_and_are_shown_whole(clone: Path) -> None:
    done = slow(clone)
    assert done.returncode == 0
    for name in lanes():
        assert f"\nthis is {name}\nbeside it\n" in done.stdout
        assert re.search(rf"^==== {name}: exit 0 after \d+ s$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", ["isolated", "accessibility"])
def test_one_that_fails_fails_all_and_stops_none(clone: Path, name: str) -> None:
    (clone / ".ci" / name).write_text("exit 3\n")
    done = slow(clone)
    assert done.returncode == 1
    assert f"==== {name}: exit 3" in done.stdout
    assert done.stdout.count("==== ") == len(lanes())


def test_suites_that_are_named_run_alone(clone: Path) -> None:
    done = slow(clone, "label", "matrix")
    assert (done.returncode, re.findall("this is (.*)", done.stdout)) == (0, ["label", "matrix"])
    (clone / ".ci" / "label").write_text("false\n")
    assert slow(clone, "label", "matrix").returncode == 1


def test_a_signal_stops_what_runs_in_both_lanes(clone: Path) -> None:
    for name in lanes():
        (clone / ".ci" / name).write_text(f"touch {clone}/begun-{name}\nsleep 60 & wait\n")
    command = ["bash", str(clone / ".ci" / "slow")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        until = time.monotonic() + 20
        while len(list(clone.glob("begun-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        # Its output ends when the last process that could write to it has gone.
        assert process.communicate(timeout=20)[0] == b""
    assert process.returncode == 130
    assert len(list(clone.glob("begun-*"))) == 2
