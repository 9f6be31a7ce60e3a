"""``medfuse compare``: does fusing help on these cases, by how much, and is it certain."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfuse.cli.counts import at_least
from medfuse.cli.run_options import add_run_options

if TYPE_CHECKING:
    from medfuse.config import Experiment

SUMMARY = "does fusing help on your cases, and by how much"

_EPILOG = """\
examples:
  medfuse compare experiment.yaml --out comparison
  medfuse compare experiment.yaml --out comparison --fusions attention,gated --curve
  medfuse compare experiment.yaml --out comparison --set cohort.split.test=0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, as for medfuse train")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--fusions",
        default="auto",
        metavar="A,B",
        help="fusions to compare, or all (default: auto, those that are trained once); the verdict "
        "is about the configuration's, or the first",
    )
    parser.add_argument("--pairs", action="store_true", help="every two sources too")
    parser.add_argument("--no-baselines", action="store_true", help="no classic classifiers")
    parser.add_argument(
        "--folds", type=at_least(2), default=5, metavar="K", help="where there are none"
    )
    parser.add_argument(
        "--members",
        type=at_least(1),
        metavar="N",
        help="networks averaged per candidate (those of training below 500 cases, else 1)",
    )
    parser.add_argument(
        "--curve",
        nargs="?",
        const="",
        metavar="N,N",
        help="learn from few cases, then from more: a learning curve (25,50,100,...)",
    )
    parser.add_argument(
        "--draws",
        type=at_least(1),
        default=3,
        metavar="N",
        help="of the cases at each size of the curve up to 25; of more cases fewer",
    )
    parser.add_argument(
        "--scratch",
        metavar="SOURCE",
        help="train this source's network from random weights, on the images, too",
    )
    parser.add_argument(
        "--scratch-epochs", type=at_least(1), default=20, metavar="N", help="of it, at most"
    )
    parser.add_argument(
        "--scratch-size", metavar="N,N", help="of its images (64,64: many times as fast as 224,224)"
    )
    parser.add_argument(
        "--workers", type=at_least(1), metavar="N", help="processes (one a processor)"
    )
    parser.add_argument(
        "--target",
        metavar="COHORT",
        help="images of another hospital: what adapting to them gains there, without their labels",
    )
    parser.add_argument(
        "--accept-overlap", action="store_true", help="sources trained on this data set, too"
    )
    add_run_options(parser, "replace an earlier comparison in DIR", "comparison.json")


def run(arguments: argparse.Namespace) -> int:
    """Compare and print the verdict."""
    from medfuse.config import load_experiment
    from medfuse.workflows.forks import forked_from
    from medfuse.workflows.workers import available_workers

    experiment, settings = load_experiment(arguments.config, arguments.set), _settings(arguments)
    several = (settings.workers or available_workers()) > 1
    early = several and _trains(arguments, experiment)
    with forked_from("medfuse.workflows.fit_imports") if early else nullcontext():
        from medfuse.workflows.compare import compare

        outcome = compare(experiment, arguments.out, settings)
    if arguments.json:
        print(json.dumps(outcome.comparison, indent=2))
        return 0
    for line in summary_lines(outcome):
        print(line)
    return 0


def _trains(arguments: argparse.Namespace, experiment: Experiment) -> bool:
    """Tell whether there is likely something to train: there are cases, and no comparison yet."""
    done = not arguments.fresh and (Path(arguments.out) / "comparison.json").exists()
    return not done and Path(experiment.cohort.path).exists()


def summary_lines(outcome: Any) -> list[str]:
    """Return what a person wants to see of a finished comparison."""
    from medfuse.cli.table import estimate_line, format_table
    from medfuse.report.fold_tables import ordered_candidates

    rows = [
        [
            found["name"],
            found["kind"],
            estimate_line(found["auroc"]) if found["auroc"] else "undefined",
            estimate_line(found["accuracy"]) if found["auroc"] else "undefined",
        ]
        for found in ordered_candidates(outcome.comparison["candidates"])
    ]
    table = format_table(["CANDIDATE", "KIND", "AUROC", "ACCURACY"], rows)
    remarks = [f"         {remark}" for remark in outcome.comparison["remarks"]]
    verdict = f"verdict  {outcome.verdict}"
    target = outcome.comparison.get("target")
    adapted = [f"target   {target['verdict']}"] if target else []
    return [table, "", verdict, *remarks, *adapted, f"report   {outcome.report}"]


def _settings(arguments: argparse.Namespace) -> Any:
    from medfuse.workflows.compare_settings import CompareSettings

    return CompareSettings(
        folds=arguments.folds,
        fusions=tuple(name for name in arguments.fusions.split(",") if name),
        pairs=arguments.pairs,
        baselines=not arguments.no_baselines,
        members=arguments.members,
        curve=_numbers("--curve", arguments.curve),
        draws=arguments.draws,
        scratch=arguments.scratch,
        scratch_epochs=arguments.scratch_epochs,
        scratch_size=_numbers("--scratch-size", arguments.scratch_size),
        workers=arguments.workers,
        accept_overlap=arguments.accept_overlap,
        target=arguments.target,
        download=arguments.download,
        progress=not arguments.quiet,
        fresh=arguments.fresh,
    )


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    from medfuse.errors import ConfigError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        raise ConfigError(
            f"{option} {text}: expected whole numbers, for example 64,128."
        ) from error
