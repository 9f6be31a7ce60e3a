"""``medfuse plugins``: list and show what is installed, check a plugin, start a new one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from medfuse.cli.component_page import component_page, component_records, plugin_page
from medfuse.cli.table import format_table
from medfuse.errors import PluginError
from medfuse.registry import PluginStatus, load_registry
from medfuse.suggest import did_you_mean

if TYPE_CHECKING:
    from medfuse.testing import Finding

SUMMARY = "list, show, check and write plugins"
_PLURALS = {"family": "families", "handlers": "handlers"}
_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(
        dest="action", metavar="list|show|check|measure|new", required=True
    )
    listing = actions.add_parser("list", help="installed plugins, broken ones with the reason")
    listing.add_argument("--json", action="store_true", help="as JSON")
    show = actions.add_parser("show", help="what a component is, and its options")
    show.add_argument("name", metavar="NAME", help="attention, builtin:mlp, or a plugin's name")
    show.add_argument("--json", action="store_true", help="as JSON")
    check = actions.add_parser("check", help="check a plugin against the contract; exit 1 if not")
    check.add_argument("plugin", metavar="MODULE", help="an installed plugin, or a module")
    check.add_argument(
        "--plain-names", action="store_true", help="also every network with a plain name (minutes)"
    )
    check.add_argument("--json", action="store_true", help="as JSON")
    measure = actions.add_parser("measure", help="write the table of a plugin's networks anew")
    measure.add_argument("plugin", metavar="PLUGIN", help="an installed plugin")
    measure.add_argument("--json", action="store_true", help="as JSON")
    new = actions.add_parser("new", help="write a plugin package that passes the check")
    new.add_argument("name", metavar="NAME", help="the plugin's name, as in NAME:backbone")
    new.add_argument("--out", type=Path, default=Path(), help="where; the working directory")
    new.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Carry out one subcommand and return the exit code."""
    actions = {"list": _list, "show": _show, "check": _check, "measure": _measure, "new": _new}
    return actions[args.action](args)


def _list(args: argparse.Namespace) -> int:
    registry = load_registry()
    plugins = registry.plugins
    if args.json:
        records = component_records(registry)
        listed = [
            {**asdict(p), "components": [r for r in records if r["plugin"] == p.name]}
            for p in plugins
        ]
        print(json.dumps(listed, indent=2))
        return 0
    rows = [
        (p.name, p.status, f"{p.distribution} {p.version}".strip(), _brings(p)) for p in plugins
    ]
    print(format_table(["PLUGIN", "STATUS", "PACKAGE", "BRINGS"], rows))
    return 0


def _show(args: argparse.Namespace) -> int:
    records = component_records(load_registry())
    plugin, _, name = args.name.rpartition(":")
    found = [r for r in records if r["name"] == name and r["plugin"] == (plugin or r["plugin"])]
    whole = [r for r in records if r["plugin"] == args.name and r not in found]
    if not found and not whole:
        known = {r["name"] for r in records} | {r["plugin"] for r in records}
        raise PluginError(
            f"{args.name}: no installed plugin or component has this name."
            f"{did_you_mean(name, known)} See: medfuse plugins list"
        )
    if args.json:
        print(json.dumps([*found, *whole], indent=2))
        return 0
    pages = [component_page(record) for record in found] + ([plugin_page(whole)] if whole else [])
    print("\n\n".join(pages))
    return 0


def _brings(plugin: PluginStatus) -> str:
    if plugin.status == "broken":
        return plugin.reason
    if plugin.status == "blocked":
        return "left out by MEDFUSE_BLOCK_PLUGINS"
    return ", ".join(_counted(plugin.counts)) or "nothing"


def _counted(counts: Mapping[str, int]) -> list[str]:
    return [
        kind if kind == "handlers" else f"{n} {kind if n == 1 else _PLURALS.get(kind, f'{kind}s')}"
        for kind, n in counts.items()
    ]


def _check(args: argparse.Namespace) -> int:
    from medfuse.testing import checks_of
    from medfuse.testing.findings import carry_out

    _add_working_directory()
    findings = []
    for check in checks_of(args.plugin, plain_names=args.plain_names):
        findings.append(carry_out(check))
        if not args.json:
            print(_line(findings[-1]), flush=True)
    failed = sum(finding.status == "failed" for finding in findings)
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        passed = sum(finding.status == "passed" for finding in findings)
        print(f"{args.plugin}: {passed} passed, {failed} failed, medfuse {version('medfuse')}")
    return 1 if failed else 0


def _add_working_directory() -> None:
    """Let a module that lies here be checked before it is installed, as ``python -m`` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _line(finding: Finding) -> str:
    detail = f"  {finding.detail}" if finding.detail else ""
    mark = _MARKS[finding.status]
    return f"{mark:8}{finding.component:30} {finding.check:20}{detail}".rstrip()


def _measure(args: argparse.Namespace) -> int:
    from medfuse.workflows.measure_networks import write_measurements

    file = write_measurements(args.plugin)
    print(json.dumps({"plugin": args.plugin, "file": str(file)}) if args.json else file)
    return 0


def _new(args: argparse.Namespace) -> int:
    from medfuse.testing.scaffold import write_plugin

    folder = write_plugin(args.name, args.out)
    if args.json:
        print(json.dumps({"name": args.name, "folder": str(folder)}))
        return 0
    print(f"{folder}\nNext: pip install -e {folder} && medfuse plugins check {args.name}")
    return 0
