"""``medfuse bundle verify``: one line per check of a bundle."""

from __future__ import annotations

import argparse
import json

SUMMARY = "verify a bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    verify = actions.add_parser(
        "verify",
        help="check a bundle where medfuse cannot be imported",
        description="Run all checks in one process that cannot import medfuse. "
        "The bundle's code is executed: verify only what you trust.",
    )
    verify.add_argument("bundle", help="folder <name>_classification")
    verify.add_argument("--schema", metavar="FILE", help="MONAI's public schema of metadata.json")
    verify.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="for all checks (600)"
    )
    verify.add_argument("--json", action="store_true", help="machine-readable result")


def run(arguments: argparse.Namespace) -> int:
    """Print the report; 1 if a check failed."""
    from medfuse.bundle import verify_bundle

    report = verify_bundle(arguments.bundle, arguments.schema, arguments.timeout)
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        width = max(len(check.name) for check in report.checks)
        for check in report.checks:
            print(f"{check.status:8} {check.name:{width}}  {check.detail}")
    return 0 if report.ok else 1
