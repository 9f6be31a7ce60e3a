"""``medfuse bank``: what the feature bank holds, filling it, merging, and making room in it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

SUMMARY = "what the feature bank holds; fill, merge, prune it"

_FILL = """\
Compute the features that training with CONFIG needs, and keep them. torchrun divides the cases
among processes, on one machine or several: with one bank on a file system that all of them see, or
with --bank FOLDER of its own on each machine, and medfuse bank merge afterwards.

examples:
  medfuse bank fill experiment.yaml
  torchrun --nproc-per-node 4 -m medfuse bank fill experiment.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``stats``, ``fill``, ``merge`` and ``prune``."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    stats = commands.add_parser("stats", help="recipes, rows, size, last use")
    prune = commands.add_parser(
        "prune",
        help="remove recipes",
        description="Remove what the options choose. Without one, only files that are damaged "
        "or of another version go. Files in use by a running medfuse are left.",
    )
    fill = commands.add_parser(
        "fill",
        help="compute the features of an experiment",
        description=_FILL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fill.add_argument("config", metavar="CONFIG", help="a YAML file, as for train")
    fill.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )
    fill.add_argument("--download", action="store_true", help="allow weights to be fetched")
    merge = commands.add_parser(
        "merge",
        help="take over the features of other banks",
        description="Take over what other banks hold and this one does not. They stay as they are.",
    )
    merge.add_argument("sources", nargs="+", type=Path, metavar="FOLDER", help="of another bank")
    merge.add_argument("--budget-gb", type=_not_negative, default=8.0, metavar="N", help="(8)")
    for command in (stats, fill, merge, prune):
        command.add_argument("--bank", type=Path, metavar="DIR", help="default: MEDFUSE_BANK")
        command.add_argument("--json", action="store_true", help="the result as JSON")
    prune.add_argument("--older-than", type=_not_negative, metavar="DAYS", help="not used so long")
    prune.add_argument("--recipe", metavar="X", help="a source's label, or the digest's start")
    prune.add_argument("--max-gb", type=_not_negative, metavar="N", help="longest unused first")
    prune.add_argument("--all", action="store_true", help="everything")
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")


def run(args: argparse.Namespace) -> int:
    """Print the bank's contents, or what was done to it."""
    actions = {"stats": _stats, "fill": _fill, "merge": _merge, "prune": _prune}
    return actions[args.action](args)


def _stats(args: argparse.Namespace) -> int:
    from medfuse.features.bank import existing_bank
    from medfuse.features.sizes import readable

    inventory = existing_bank(args.bank).stats()
    if args.json:
        print(json.dumps(inventory.to_json(), indent=2))
        return 0
    print(f"{inventory.folder}: {_files(inventory.files)}, {readable(inventory.bytes)}")
    if inventory.files:
        print(f"{'recipe':12}  {'images':>7}  {'rows':>8}  {'size':>9}  {'last use':16}  source")
    for file in inventory.files:
        label = file.label if file.state == "ok" else _STATES[file.state]
        print(
            f"{file.recipe[:12]:12}  {file.images:>7}  {file.rows:>8}  "
            f"{readable(file.bytes):>9}  {_moment(file.last_use)}  {label}"
        )
    return 0


def _fill(args: argparse.Namespace) -> int:
    from medfuse.config import load_experiment
    from medfuse.processes import joined_shard
    from medfuse.workflows.fill import fill_bank

    settings = list(args.set)
    if args.bank:
        folder = json.dumps(str(args.bank.absolute()), ensure_ascii=False)
        settings.append(f"bank.path={folder}")
    experiment = load_experiment(args.config, settings)
    with joined_shard(os.environ) as shard:
        found = fill_bank(experiment, shard, download=args.download)
    if not shard.first:
        return 0
    if args.json:
        print(json.dumps({"known": found.known, "computed": found.computed}))
        return 0
    print(f"{found.known} images known, {found.computed} computed")
    return 0


def _merge(args: argparse.Namespace) -> int:
    from medfuse.features.bank import FeatureBank
    from medfuse.features.merge import merge_banks

    target = FeatureBank(args.bank, args.budget_gb)
    total = merge_banks([FeatureBank(folder) for folder in args.sources], target)
    if args.json:
        print(json.dumps(asdict(total)))
        return 0
    print(f"{total.rows} rows of {total.recipes} recipes taken over, {total.known} known already")
    if total.damaged:
        print(f"{total.damaged} rows are damaged and were left behind", file=sys.stderr)
    return 0


_STATES = {
    "damaged": "(damaged: medfuse bank prune removes it)",
    "version": "(another version: medfuse bank prune removes it)",
}


def _prune(args: argparse.Namespace) -> int:
    from medfuse.features.bank import existing_bank
    from medfuse.features.prune import PruneOrder
    from medfuse.features.sizes import readable

    order = PruneOrder(args.older_than, args.recipe, args.max_gb, args.all, args.dry_run)
    pruned = existing_bank(args.bank).prune(order)
    if args.json:
        print(json.dumps(pruned.to_json() | {"dry_run": args.dry_run}, indent=2))
        return 0
    verb = "would remove" if args.dry_run else "removed"
    for file in pruned.removed:
        print(f"{verb} {file.recipe[:12]} {file.label}".rstrip())
    for file in pruned.in_use:
        print(f"left {file.recipe[:12]}: another process is using it", file=sys.stderr)
    print(f"{verb} {_files(pruned.removed)}, {readable(pruned.bytes)}")
    return 0


def _files(files: Sequence[object]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text}, expected 0 or more")
    return value


def _moment(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M")
