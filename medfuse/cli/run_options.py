"""The options of every command that trains: settings, a fresh start, downloads, plain data."""

from __future__ import annotations

import argparse


def add_run_options(parser: argparse.ArgumentParser, fresh: str, printed: str) -> None:
    """Declare ``--set``, ``--fresh``, ``--download`` and ``--json``.

    Args:
        parser: of the command.
        fresh: what a fresh start does, for the help.
        printed: the file that goes to stdout as JSON.
    """
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )
    parser.add_argument("--fresh", action="store_true", help=fresh)
    parser.add_argument("--download", action="store_true", help="allow weights to be fetched")
    parser.add_argument("--json", action="store_true", help=f"print {printed} to stdout")
