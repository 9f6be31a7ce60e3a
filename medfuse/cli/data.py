"""``medfuse data split``: write the split of a cohort as a file."""

from __future__ import annotations

import argparse
import json

SUMMARY = "what is in a cohort, and its split"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    split = commands.add_parser("split", help="divide the cases by patient; write the split file")
    split.add_argument("cohort", metavar="COHORT", help="class folders, CSV, JSON list or .npz")
    split.add_argument("--out", required=True, metavar="FILE", help="the new cohort file (CSV)")
    split.add_argument("--test", type=float, default=0.2, metavar="FRACTION")
    split.add_argument("--validation", type=float, default=0.15, metavar="FRACTION")
    split.add_argument("--calibration", type=float, default=0.0, metavar="FRACTION")
    split.add_argument("--folds", type=int, metavar="K", help="K-fold instead of --test")
    split.add_argument("--fold", type=int, default=0, metavar="N", help="the fold that is tested")
    split.add_argument("--seed", type=int, default=0)
    split.add_argument("--label", default="label", metavar="COLUMN", help="column of the class")
    split.add_argument("--group", metavar="COLUMN", help="column of the patient")
    split.add_argument("--group-pattern", metavar="REGEX", help="patient id in a file name")
    split.add_argument("--on-leak", choices=("refuse", "drop_from_training"), default="refuse")
    split.add_argument("--json", action="store_true", help="machine-readable result")


def run(arguments: argparse.Namespace) -> int:
    """Write the split file and print how many cases each part has."""
    from medfuse.workflows.split import split

    counts = split(_config(arguments), arguments.out, progress=not arguments.quiet)
    if arguments.json:
        print(json.dumps({"file": arguments.out, "counts": counts}, indent=2))
        return 0
    for role, row in counts.items():
        print(f"{role:<12} {sum(row.values()):>6}  {row}")
    print(f"written to {arguments.out}")
    return 0


def _config(arguments: argparse.Namespace) -> dict[str, object]:
    fractions = ("test", "validation", "calibration", "folds", "fold", "seed")
    return {
        "path": arguments.cohort,
        "label": arguments.label,
        "group": arguments.group,
        "group_pattern": arguments.group_pattern,
        "on_leak": arguments.on_leak,
        "split": {name: getattr(arguments, name) for name in fractions},
    }
