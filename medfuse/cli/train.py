"""``medfuse train``: from a configuration, or from images and sources, to a run folder."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfuse.cli.run_options import add_run_options

if TYPE_CHECKING:
    from medfuse.processes import Shard

SUMMARY = "train a fused classifier and write its bundle"

_EPILOG = """\
examples:
  medfuse train experiment.yaml --out runs/first
  medfuse train images/ --source mini:resnet --source mini:densenet --out runs/second
  medfuse train experiment.yaml --out runs/third --set training.epochs=20 --set seed=1
  torchrun --standalone --nproc-per-node 2 -m medfuse train experiment.yaml --out runs/fourth
"""


_SHOWN = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "auroc_macro": "AUROC",
    "mean_absolute_error": "mean absolute error in grades",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", metavar="CONFIG|COHORT", help="a YAML file, or labelled images")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run folder")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="S",
        help="plugin:name.weights, plugin:name@FILE, or a YAML mapping {use: ..., cut: ...}; "
        "repeat for several",
    )
    parser.add_argument("--fusion", metavar="F", help="name, or {use: name, option: value}")
    parser.add_argument("--head", metavar="H", help="name, or {use: name, option: value}")
    parser.add_argument(
        "--modality",
        choices=("XR", "CT", "MR", "other"),
        help="of the images; as DICOM says, else other",
    )
    parser.add_argument(
        "--accept-license",
        action="append",
        default=[],
        metavar="SPDX",
        help="keep to a license of weights that restricts their use, such as CC-BY-NC-4.0; repeat",
    )
    parser.add_argument("--group-pattern", metavar="REGEX", help="patient id in a file name")
    add_run_options(parser, "replace an earlier run in RUN", "metrics.json")


def run(arguments: argparse.Namespace) -> int:
    """Train and print where the results are."""
    from medfuse.processes import joined_shard

    with joined_shard(os.environ) as shard:
        experiment = experiment_of(arguments)
        if not shard.first:
            return _helped(experiment, arguments, shard)
        from medfuse.workflows.train import train

        outcome = train(
            experiment,
            arguments.out,
            fresh=arguments.fresh,
            download=arguments.download,
            progress=not arguments.quiet,
            shard=shard,
        )
    if arguments.json:
        print(json.dumps(outcome.metrics, indent=2))
        return 0
    for line in summary_lines(outcome):
        print(line)
    return 0


def _helped(experiment: Any, arguments: argparse.Namespace, shard: Shard) -> int:
    """Take part without a word: the first process speaks for all."""
    from medfuse.workflows.train_task import help_train

    logging.getLogger("medfuse").setLevel(logging.ERROR)
    help_train(experiment, shard, download=arguments.download)
    return 0


def summary_lines(outcome: Any) -> list[str]:
    """Return what a person wants to see of a finished run."""
    from medfuse.cli.table import estimate_line

    lines = []
    test, comparison = outcome.metrics["test"], outcome.metrics["comparison"]
    if test is not None:
        overall = test["overall"]
        shown = [f"{t} {estimate_line(overall[k])}" for k, t in _SHOWN.items() if k in overall]
        lines.append(f"test     {', '.join(shown)} ({test['cases']} cases)")
    if comparison is not None:
        lines += [_single_line(row, comparison) for row in comparison["sources"]]
        lines.append(f"verdict  {comparison['verdict']}")
    return [*lines, f"report   {outcome.report}", f"bundle   {outcome.bundle}"]


def _single_line(row: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """Return what a source alone reached, as the line of the fused model above it shows it."""
    cases, agreement = comparison["cases"], comparison.get("agreement", "accuracy")
    names = {"accuracy": agreement, "auroc": "AUROC"}
    values = {title: row[key]["second"] for key, title in names.items()}
    shown = [f"{t} {'undefined' if v is None else f'{v:.3f}'}" for t, v in values.items()]
    seen = f" (the {row['cases']} cases that it sees)" if row["cases"] < cases else ""
    return f"alone    {', '.join(shown)}: {row['source']}{seen}"


def experiment_of(arguments: argparse.Namespace) -> Any:
    """Return the experiment that a command line asks for.

    Raises:
        ConfigError: options that do not go together, or a configuration that cannot be.
    """
    return _accepting(_experiment(arguments), arguments.accept_license)


def _experiment(arguments: argparse.Namespace) -> Any:
    from medfuse.config import load_experiment, parse_experiment
    from medfuse.errors import ConfigError

    given = {
        "--source": bool(arguments.source),
        "--fusion": bool(arguments.fusion),
        "--head": bool(arguments.head),
        "--modality": bool(arguments.modality),
        "--group-pattern": bool(arguments.group_pattern),
    }
    if Path(arguments.what).suffix.lower() in (".yaml", ".yml"):
        extra = [name for name, is_given in given.items() if is_given]
        if extra:
            raise ConfigError(
                f"{arguments.what}: {extra[0]} is for training on images without a "
                "configuration. Write it into the file, or use --set."
            )
        return load_experiment(arguments.what, arguments.set)
    if not arguments.source:
        raise ConfigError(
            f"{arguments.what}: no source is named. Add --source, for example --source "
            "mini:resnet ('medfuse sources list' shows all), or give a YAML file."
        )
    data: dict[str, Any] = {
        "cohort": {"path": arguments.what},
        "sources": [component(text, "--source") for text in arguments.source],
    }
    for key, text in (("fusion", arguments.fusion), ("head", arguments.head)):
        if text:
            data[key] = component(text, f"--{key}")
    if arguments.group_pattern:
        data["cohort"]["group_pattern"] = arguments.group_pattern
    if arguments.modality:
        data["inputs"] = {"image": {"modality": arguments.modality}}
    return parse_experiment(data, "command line", overrides=arguments.set)


def _accepting(experiment: Any, licenses: list[str]) -> Any:
    """Return the experiment with the licenses accepted beside those of its own."""
    from medfuse.config import parse_experiment

    if not licenses:
        return experiment
    plain = experiment.model_dump(mode="json", exclude_unset=True)
    accepted = [*experiment.bundle.accept_licenses, *licenses]
    plain["bundle"] = {**plain.get("bundle", {}), "accept_licenses": list(dict.fromkeys(accepted))}
    return parse_experiment(plain, "--accept-license")


def component(text: str, option: str) -> dict[str, Any]:
    """Return a mapping with ``use`` from a bare name or a YAML mapping."""
    import yaml

    from medfuse.errors import ConfigError

    if not text.lstrip().startswith("{"):
        return {"use": text}
    try:
        mapping = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{option} {text}: not a valid YAML mapping.") from error
    return dict(mapping)
