"""The ``medfuse`` program: finds the command, runs it, turns errors into one line and a code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from medfuse.errors import MedfuseError
from medfuse.suggest import did_you_mean

COMMANDS = {
    "demo": "a full tour on generated images, offline",
    "data": "what is in a cohort, and its split",
    "sources": "which pretrained networks can be used, their license and domain",
    "plugins": "list, show, check and write plugins",
    "pretrain": "train a backbone on images, with or without labels, for use as a source",
    "train": "train a fused classifier and write its bundle",
    "validate": "train without each site in turn, and measure there",
    "compare": "does fusing help on your cases, and by how much",
    "evaluate": "measure a bundle on labelled images",
    "predict": "classify images with a bundle",
    "explain": "show what a model looked at",
    "bundle": "verify a bundle, or export it for MONAI Label or Deploy",
    "bank": "what the feature bank holds; prune it",
    "doctor": "versions, devices, plugins and caches",
}
INTERRUPTED = 130


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 a deliberate error, 2 usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = next((a for a in arguments if not a.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        print(_unknown(name), file=sys.stderr)
        return 2
    parser = _parser(name)
    try:
        parsed, unknown = parser.parse_known_args(arguments)
        if unknown:
            _refuse(unknown, _chosen(parser, parsed))
    except SystemExit as stop:
        return int(stop.code or 0)
    if parsed.command is None:
        parser.print_help()
        return 0
    return _guarded(parsed)


def _guarded(parsed: argparse.Namespace) -> int:
    _configure_logging(parsed)
    try:
        return int(_module(parsed.command).run(parsed))
    except MedfuseError as error:
        if parsed.debug:
            raise
        if str(error):  # else another process says it
            print(f"medfuse: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("medfuse: interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the last resort: one line rather than a page
        if parsed.debug:
            raise
        text = " ".join(str(error).split())[:300]
        print(
            f"medfuse: unforeseen error: {type(error).__name__}: {text}. "
            "Please report it; --debug shows where it happened.",
            file=sys.stderr,
        )
        return 1


def _parser(name: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the named command's module is imported."""
    parser = argparse.ArgumentParser(
        prog="medfuse",
        description="Train medical image classifiers from several pretrained networks at once.",
        epilog="For research, not a medical device. 'medfuse COMMAND --help' tells more.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command, summary in COMMANDS.items():
        subparser = commands.add_parser(command, help=summary, description=summary.capitalize())
        if command == name:
            _module(command).add_arguments(subparser)
            _add_common(subparser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Give the command, and each of its own subcommands, the options that all share."""
    nested = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in nested:
        for subparser in action.choices.values():
            _add_common(subparser)
    if nested:
        return
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("-q", "--quiet", action="store_true", help="errors only on stderr")


def _chosen(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> argparse.ArgumentParser:
    """Return the parser of the command, or of the command's own subcommand, that was given."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            name = getattr(parsed, action.dest)
            return _chosen(action.choices[name], parsed) if name else parser
    return parser


def _refuse(unknown: Sequence[str], parser: argparse.ArgumentParser) -> NoReturn:
    """End with the usage of the command, and the option that was perhaps meant."""
    first, known = unknown[0].partition("=")[0], parser._option_string_actions
    if first in known:
        hint = f" Give {first} behind the command."
    else:
        hint = did_you_mean(first, known) if first.startswith("--") else ""
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{'.' + hint if hint else ''}")


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"medfuse.cli.{command}")


def _unknown(name: str) -> str:
    hint = did_you_mean(name, COMMANDS)
    return f"medfuse: unknown command {name!r}.{hint} Known: {', '.join(COMMANDS)}."


def _version() -> str:
    from importlib.metadata import version

    return f"medfuse {version('medfuse')}"


def _configure_logging(parsed: argparse.Namespace) -> None:
    logger = logging.getLogger("medfuse")
    logger.setLevel(logging.ERROR if parsed.quiet else logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)


if __name__ == "__main__":
    sys.exit(run())
