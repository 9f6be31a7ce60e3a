"""``medfuse sources``: which pretrained networks can be used, everything known about one, whether
its weights are what they should be, and which suit a cohort.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from medfuse.cli import source_rank
from medfuse.cli.counts import at_least
from medfuse.cli.source_filters import add_filters, wanted
from medfuse.cli.source_page import source_page, source_record
from medfuse.cli.source_rows import family_rows, source_rows
from medfuse.cli.source_table import markdown_table, terminal_table
from medfuse.cli.table import format_table
from medfuse.errors import PluginError
from medfuse.registry import Registry, load_registry, parse_source
from medfuse.registry.bundled import bundled_uses
from medfuse.suggest import did_you_mean

SUMMARY = "which pretrained networks can be used, their size, license and domain"
_LIMIT = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="list|show|verify|rank", required=True)
    listing = actions.add_parser("list", help="sources with size, weights, domain, license")
    listing.add_argument("--family", metavar="NAME", help="list the members of a family")
    add_filters(listing)
    listing.add_argument(
        "--limit",
        type=at_least(0),
        default=_LIMIT,
        metavar="N",
        help="members of a family, 0 for all (%(default)s)",
    )
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as a table of Markdown")
    show = actions.add_parser("show", help="specification, stages, weights and feature width")
    show.add_argument("source", metavar="SOURCE", help="as in timm:resnet18.a1_in1k")
    show.add_argument("--no-build", action="store_true", help="do not build it to measure it")
    show.add_argument("--json", action="store_true", help="as JSON")
    verify = actions.add_parser("verify", help="load the weights, check digest, keys and features")
    verify.add_argument("source", metavar="SOURCE", help="as in timm:resnet18@weights.safetensors")
    verify.add_argument("--download", action="store_true", help="allow the weights to be fetched")
    verify.add_argument("--json", action="store_true", help="as JSON")
    source_rank.add_arguments(actions.add_parser("rank", help=source_rank.HELP))


def run(args: argparse.Namespace) -> int:
    """Carry out one subcommand and return the exit code."""
    return {"list": _list, "show": _show, "verify": _verify, "rank": source_rank.run}[args.action](
        args
    )


def _list(args: argparse.Namespace) -> int:
    registry = load_registry()
    _check_plugin(registry, args.plugin)
    name = args.filter or "*"
    if args.family:
        rows = wanted(family_rows(registry, args.family, name, args.limit), args)
    else:
        rows = wanted(source_rows(registry, name), args)
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    elif args.markdown:
        print(markdown_table(rows))
    else:
        print(terminal_table(rows) or "No source fits. See: medfuse sources list")
    return 0


def _check_plugin(registry: Registry, name: str | None) -> None:
    known = [plugin.name for plugin in registry.plugins]
    if name and name not in known:
        raise PluginError(
            f"--plugin {name}: no plugin of this name is installed, found {', '.join(known)}."
            f"{did_you_mean(name, known)}"
        )


def _show(args: argparse.Namespace) -> int:
    registry = load_registry()
    records = [_record(registry, use, not args.no_build) for use in bundled_uses(args.source)]
    if args.json:
        print(json.dumps(records[0] if len(records) == 1 else records, indent=2))
    else:
        print("\n\n".join(map(source_page, records)))
    return 0


def _record(registry: Registry, use: str, build: bool) -> dict[str, Any]:
    reference = parse_source(use)
    plugin, spec = registry.backbone(reference)
    return source_record(registry.qualified(reference), plugin, spec, build=build)


def _verify(args: argparse.Namespace) -> int:
    from medfuse.workflows.sources import verify_source

    found = verify_source(args.source, download=args.download)
    if args.json:
        print(json.dumps(found.to_dict(), indent=2))
        return 0
    published = {True: "as published", False: "another than published", None: "none published"}
    rows = [
        ("source", found.source),
        ("file", found.file or "none: untrained"),
        ("sha256", f"{found.sha256} ({published[found.published]})" if found.sha256 else "-"),
        ("keys", f"all used, {len(found.left_out)} left out as its description says"),
        ("features", f"{found.feature_dim}, finite, at {' x '.join(map(str, found.input_size))}"),
        ("license", found.license),
    ]
    print(format_table(["CHECK", "FOUND"], rows))
    return 0
