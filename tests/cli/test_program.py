"""The program ends quickly, with all that it has printed and its exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import sys
import medfuse.cli.main
from medfuse.cli.program import main

class Slow:
    def __del__(self):
        print("taken apart")

def run():
    import atexit
    global slow
    slow = Slow()
    atexit.register(lambda: print("registered"))
    {body}

medfuse.cli.main.run = run
sys.exit(main())
"""


@pytest.mark.parametrize("code", [0, 1, 130])
def test_output_and_code_arrive_and_nothing_is_taken_apart(code: int) -> None:
    done = _run(f"print('x' * 100_000); print('y', file=sys.stderr); return {code}")
    assert (done.returncode, done.stderr) == (code, "y\n")
    assert done.stdout == "x" * 100_000 + "\nregistered\n"


def test_an_error_is_shown_as_python_does() -> None:
    done = _run("raise KeyError('lost')")
    assert done.returncode == 1
    assert "KeyError: 'lost'" in done.stderr
    assert done.stdout == "registered\ntaken apart\n"


def test_a_reader_that_is_gone_does_not_hang_the_program() -> None:
    done = _run("sys.stdout.close(); return 3")
    assert done.returncode == 3


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_program_that_is_started_without_streams_ends_as_usual(closed: str) -> None:
    line = f'"$1" -c "$2" {closed}'
    program = START.format(body="return 3")
    command = ["bash", "-c", line, "bash", sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")


def test_the_installed_command_is_this_program() -> None:
    from importlib.metadata import entry_points

    (command,) = entry_points(group="console_scripts", name="medfuse")
    assert command.value == "medfuse.cli.program:main"


def _run(body: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START.format(body=body)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
