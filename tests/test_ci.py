"""The suites of `make test-slow`: all of them run, and one that fails is not lost among them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("flock")),
    reason="promise not shown: .ci/slow needs bash and flock",
)

CI = Path(__file__).resolve().parents[1] / ".ci"
# What continuous integration calls, this program, and what a developer calls.
OTHERS = {"run", "slow", "lock"}


def lanes() -> list[str]:
    (lines,) = re.findall(r"^lanes=\((.*)\)$", (CI / "slow").read_text(), re.MULTILINE)
    return " ".join(re.findall(r'"([^"]*)"', lines)).split()


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
    programs = (p for p in CI.iterdir() if p.is_file() and not p.suffix and os.access(p, os.X_OK))
    suites = {path.name for path in programs} - OTHERS
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


@pytest.mark.parametrize("names", [(), ("label", "matrix")], ids=["lanes", "names"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_runs_and_shows_it(
    clone: Path, names: tuple[str, ...], number: signal.Signals
) -> None:
    for name in lanes():
        (clone / ".ci" / name).write_text(
            f"echo {name} hangs\ntouch {clone}/begun-{name}\nsleep 60 & wait\n"
        )
    side_by_side = 1 if names else 2
    command = ["bash", str(clone / ".ci" / "slow"), *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        until = time.monotonic() + 20
        while len(list(clone.glob("begun-*"))) < side_by_side and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(number)
        # Its output ends when the last process that could write to it has gone.
        shown = process.communicate(timeout=20)[0].decode()
    assert process.returncode == 128 + number
    begun = [path.name.removeprefix("begun-") for path in clone.glob("begun-*")]
    assert len(begun) == side_by_side
    for name in begun:
        assert f"==== {name}: stopped\n{name} hangs\n" in shown


def test_lanes_end_with_their_program(clone: Path) -> None:
    (clone / ".ci" / "isolated").write_text(f"touch {clone}/begun\nsleep 0.5\n")
    (clone / ".ci" / "matrix").write_text(f"touch {clone}/went-on\n")
    command = ["bash", str(clone / ".ci" / "slow")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        until = time.monotonic() + 20
        while not (clone / "begun").exists() and time.monotonic() < until:
            time.sleep(0.02)
        process.kill()
        process.wait(timeout=20)
        process.communicate(timeout=20)
    assert not (clone / "went-on").exists()


def test_a_name_that_is_no_suite_is_refused_before_any_runs(clone: Path) -> None:
    done = slow(clone, "label", "labels")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "there is no suite labels in .ci/\n"
