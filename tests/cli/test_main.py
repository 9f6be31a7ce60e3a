"""The program itself: help, unknown commands, exit codes, and what it must not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medfuse.cli.main import COMMANDS, run
from medfuse.errors import CohortError


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"medfuse {command}" in capsys.readouterr().out


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "COMMAND" in capsys.readouterr().out


def test_unknown_command_is_a_usage_error_with_a_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["trian", "x"]) == 2
    assert 'Did you mean "train"?' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "train e.yaml --out there --sett x=1",
            'train: error: {}--sett x=1. Did you mean "--set"?',
        ),
        (
            "train e.yaml --out there --fresj=1",
            'train: error: {}--fresj=1. Did you mean "--fresh"?',
        ),
        ("sources rank a --picks 2", 'sources rank: error: {}--picks 2. Did you mean "--pick"?'),
        ("train e.yaml other.yaml --out there", "train: error: {}other.yaml\n"),
        ("train e.yaml --out there --zzzz", "train: error: {}--zzzz\n"),
        ("--debug bank stats", "bank stats: error: {}--debug. Give --debug behind the command."),
        ("-q bank stats", "bank stats: error: {}-q. Give -q behind the command."),
        ("--hlp", 'medfuse: error: {}--hlp. Did you mean "--help"?'),
    ],
)
def test_unknown_option_is_a_usage_error_of_its_command_with_a_suggestion(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("usage: medfuse")
    assert said.format("unrecognized arguments: ") in shown


def test_missing_argument_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train"]) == 2
    assert "--out" in capsys.readouterr().err


def test_foreseen_error_is_one_line_and_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["train", str(tmp_path / "absent.yaml"), "--out", str(tmp_path / "run")])
    assert code == 1
    error = capsys.readouterr().err
    assert error.startswith("medfuse: error: ")
    assert len(error.splitlines()) == 1


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    from medfuse.errors import ConfigError

    with pytest.raises(ConfigError):
        run(["train", str(tmp_path / "absent.yaml"), "--out", str(tmp_path / "r"), "--debug"])


def test_interrupt_is_said_and_has_its_own_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import medfuse.cli.doctor

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(medfuse.cli.doctor, "run", interrupted)
    assert run(["doctor"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_plugin_error_keeps_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import medfuse.cli.doctor

    def refused(_: object) -> int:
        raise CohortError("no")

    monkeypatch.setattr(medfuse.cli.doctor, "run", refused)
    assert run(["doctor"]) == 1


def test_doctor_finds_nothing_wrong_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--no-devices"]) == 0
    shown = capsys.readouterr().out
    assert "plugin mini" in shown
    assert "monai" in shown


def test_help_and_listing_import_nothing_heavy() -> None:
    program = """
import sys
from medfuse.cli.main import run
for arguments in (
    ["--help"], ["train", "--help"], ["plugins", "list"], ["sources", "list"],
    ["plugins", "list", "--json"], ["plugins", "show", "attention"],
):
    assert run(arguments) == 0, arguments
heavy = {"torch", "monai", "timm", "torchvision", "ignite", "pandas", "matplotlib"}
sys.exit(", ".join(heavy & set(sys.modules)) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
