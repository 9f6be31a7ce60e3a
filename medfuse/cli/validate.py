"""``medfuse validate``: train without each site in turn, and measure there."""

from __future__ import annotations

import argparse
import json

from medfuse.cli.run_options import add_run_options

SUMMARY = "train without each site in turn, and measure there"

_EPILOG = """\
The cohort needs a column named site. Runs that are finished are kept, and one that was interrupted
goes on. Exit code: 0 every site was held out, 1 an error, 3 some could not be.

example:
  medfuse validate experiment.yaml --out sites
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, as for train")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    add_run_options(parser, "train again what is there", "metrics.json")


def run(arguments: argparse.Namespace) -> int:
    """Train, measure and print; 3 if some sites could not be held out."""
    from medfuse.cli.predict import SOME_REFUSED
    from medfuse.cli.table import estimate_line
    from medfuse.config import load_experiment
    from medfuse.workflows.validate import validate

    outcome = validate(
        load_experiment(arguments.config, arguments.set),
        arguments.out,
        fresh=arguments.fresh,
        download=arguments.download,
        progress=not arguments.quiet,
    )
    if arguments.json:
        print(json.dumps(outcome.metrics, indent=2))
    else:
        for site, group in outcome.metrics["pooled"]["groups"]["site"].items():
            measured = group["overall"]
            text = estimate_line(measured["auroc_macro"]) if measured else group["reason"]
            print(f"{site:<19} AUROC {text} ({group['cases']} cases)")
        pooled = outcome.metrics["pooled"]["overall"]["auroc_macro"]
        print(f"{'all together':<19} AUROC {estimate_line(pooled)}")
        print(f"{'report':<19} {outcome.folder / 'report.html'}")
    return SOME_REFUSED if outcome.failed else 0
