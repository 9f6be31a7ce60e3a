"""``medfuse evaluate``: measure a bundle on labelled images."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from medfuse.cli.counts import at_least
from medfuse.cli.predict import SOME_REFUSED
from medfuse.cli.trusted_key import add_trusted_key, require_trusted

SUMMARY = "measure a bundle on labelled images"


_SHOWN = (
    *("accuracy", "balanced_accuracy", "exact_match", "hamming_loss", "auroc_macro"),
    *("auprc_macro", "brier", "ece", "brier_macro", "ece_macro"),
    *("mean_absolute_error", "quadratic_kappa"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = "Exit code: 0 all cases were measured, 1 an error, 3 some were refused."
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of a bundle or of a run")
    parser.add_argument("cohort", metavar="COHORT", help="class folders, CSV, JSON list or .npz")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--part",
        default="all",
        choices=("all", "train", "validation", "calibration", "test"),
        help="cases of one part of the cohort (default: all)",
    )
    parser.add_argument("--group-pattern", metavar="REGEX", help="patient id in a file name")
    parser.add_argument(
        "--label",
        action="append",
        metavar="COLUMN",
        help="column of the class; once for each of several labels",
    )
    parser.add_argument(
        "--label-separator", metavar="TEXT", help="divides several labels in one cell, such as '|'"
    )
    parser.add_argument("--group", metavar="COLUMN", help="column of the patient")
    parser.add_argument(
        "--subgroup",
        action="append",
        default=[],
        metavar="COLUMN[:CUT...]",
        help="repeat the metrics for the groups of a column: sex, or age:40:65 in bands",
    )
    parser.add_argument(
        "--drift-only",
        action="store_true",
        help="pass over labels: only how the images differ from those of training",
    )
    parser.add_argument(
        "--bootstrap", type=at_least(0), default=1000, metavar="N", help="resamples"
    )
    add_trusted_key(parser)
    parser.add_argument("--json", action="store_true", help="print metrics.json to stdout")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; 3 if some images were refused and the others measured."""
    from pydantic import ValidationError

    from medfuse.config import CohortConfig, EvaluationConfig
    from medfuse.errors import ConfigError
    from medfuse.serving.inputs import bundle_in

    bundle = bundle_in(arguments.bundle)
    require_trusted(bundle, arguments)
    from medfuse.workflows.evaluate import evaluate, evaluate_drift  # imports torch

    try:
        settings = EvaluationConfig(
            bootstrap=arguments.bootstrap, subgroups=list(arguments.subgroup)
        )
    except ValidationError as error:
        message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"--subgroup: {message}.") from error
    given = arguments.label or ["label"]
    cohort = CohortConfig(
        path=arguments.cohort,
        label=given[0] if len(given) == 1 else given,
        label_separator=arguments.label_separator,
        group=arguments.group,
        group_pattern=arguments.group_pattern,
    )
    where = (bundle, cohort, arguments.out)
    outcome = (
        evaluate_drift(*where, part=arguments.part)
        if arguments.drift_only
        else evaluate(*where, part=arguments.part, settings=settings)
    )
    if arguments.json:
        print(json.dumps(outcome.metrics, indent=2))
    else:
        for line in _lines(outcome.metrics):
            print(line)
        print(f"{'report':<19} {outcome.folder / 'report.html'}")
    if outcome.refused:
        count = "1 case was" if outcome.refused == 1 else f"{outcome.refused} cases were"
        print(f"{count} refused; see predictions.csv", file=sys.stderr)
    return SOME_REFUSED if outcome.refused else 0


def _lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    from medfuse.cli.table import estimate_line

    overall = metrics.get("overall", {})
    for name in [name for name in _SHOWN if name in overall]:
        yield f"{name:<19} {estimate_line(overall[name])}"
    drift = metrics["drift"]
    text = drift["sources"]["verdict"] if drift else "not measured: the bundle has no distances"
    yield f"{'drift':<19} {text}"
