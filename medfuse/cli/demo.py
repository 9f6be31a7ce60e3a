"""``medfuse demo``: the whole tour on generated images, with no network and no data."""

from __future__ import annotations

import argparse
import json

SUMMARY = "a full tour on generated images, offline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--out", default="demo", metavar="DIR", help="where to (default: demo)")
    parser.add_argument(
        "--kind",
        choices=("image", "volume", "several"),
        default="image",
        help="X-rays, head CTs, or cases of CT, X-ray, age and sex (default: image)",
    )
    parser.add_argument("--fresh", action="store_true", help="replace an earlier demo in DIR")
    parser.add_argument("--json", action="store_true", help="print the metrics to stdout")


def run(arguments: argparse.Namespace) -> int:
    """Run the tour and print where its results are."""
    from medfuse.cli.train import summary_lines
    from medfuse.workflows.demo import demo

    outcome = demo(
        arguments.out, arguments.kind, fresh=arguments.fresh, progress=not arguments.quiet
    )
    if arguments.json:
        print(json.dumps(outcome.metrics, indent=2))
        return 0
    print("\n".join(summary_lines(outcome)))
    images = outcome.folder.parent / "images"
    example = {"image": "nodule", "volume": "ill", "several": "cases.csv"}[arguments.kind]
    print(f"\ntry      medfuse predict {outcome.bundle} {images / example}")
    return 0
