"""``medfuse explain``: what a model looked at."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from medfuse.cli.counts import at_least
from medfuse.cli.predict import SOME_REFUSED
from medfuse.cli.trusted_key import add_trusted_key, require_trusted

SUMMARY = "show what a model looked at"
_EXAMPLES = """examples:
  medfuse explain runs/first --out explained                   the test cases of a run
  medfuse explain runs/first scans/ --method gradcam --method occlusion --out explained
  medfuse explain runs/first --masks lesions/ --check --neighbors 5 --out explained
  medfuse explain my_classification scan.dcm --class pneumonia --out explained

Exit code: 0 every case was explained, 1 an error, 3 some were refused.
The bundle's code is executed: use only bundles you trust, or those that --trusted-key signed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument("subject", metavar="BUNDLE|RUN", help="folder of a bundle or of a run")
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT", help="as for predict; none: the run's test cases"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="M",
        help="gradcam (default), gradcam_pp, occlusion, attention, a plugin's, or "
        "{use: name, option: value}; repeat for several",
    )
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="not the most probable one"
    )
    parser.add_argument("--masks", metavar="DIR", help="where findings are, named as the images")
    parser.add_argument(
        "--check", action="store_true", help="deletion, insertion, and maps of random weights"
    )
    parser.add_argument(
        "--neighbors",
        type=at_least(0),
        default=0,
        metavar="N",
        help="most similar training cases (a run)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:0 ... (auto)")
    parser.add_argument("--fresh", action="store_true", help="replace an earlier explanation")
    add_trusted_key(parser)
    parser.add_argument("--json", action="store_true", help="print explanations.json to stdout")


def run(arguments: argparse.Namespace) -> int:
    """Explain and print; 3 if some cases were refused and the others explained."""
    from medfuse.serving.inputs import bundle_in, require_inputs

    require_trusted(bundle_in(arguments.subject), arguments)
    require_inputs(arguments.inputs)
    methods = [_method(text) for text in arguments.method]
    from medfuse.workflows.explain import ExplainOptions, explain  # imports torch

    options = ExplainOptions(
        methods=methods,
        class_name=arguments.class_name,
        masks=arguments.masks,
        check=arguments.check,
        neighbors=arguments.neighbors,
        device=arguments.device,
    )
    outcome = explain(
        arguments.subject, arguments.inputs, arguments.out, options=options, fresh=arguments.fresh
    )
    if arguments.json:
        print(json.dumps(outcome.summary, indent=2))
    else:
        _print(outcome.summary)
        print(f"{'page':<10} {outcome.folder / 'explanations.html'}")
    if outcome.refused:
        count = "1 case was" if outcome.refused == 1 else f"{outcome.refused} cases were"
        print(f"{count} refused; see explanations.csv", file=sys.stderr)
    return SOME_REFUSED if outcome.refused else 0


def _print(summary: Any) -> None:
    print(f"{'explained':<10} {summary['explained']} cases")
    left_out = sum(record.get("same_image_left_out", 0) for record in summary["cases"])
    if left_out:
        cases = "1 training case" if left_out == 1 else f"{left_out} training cases"
        print(f"{'left out':<10} {cases} with the very image that is explained")
    for name, one in summary["sources"].items():
        share = "" if one["share"] is None else f"share {one['share']:.2f}, "
        print(f"{'source':<10} {name}: {share}effect {one['effect']:+.2f} log-odds")
    for score in summary["scores"]:
        parts = [
            f"{label} {score[key]:.2f}"
            for key, label in (
                ("deletion", "deletion"),
                ("insertion", "insertion"),
                ("points_at", "points at the mask"),
                ("points_at_true_positives", "of true positives"),
                ("energy_inside", "energy inside"),
            )
            if score[key] is not None
        ]
        if parts:
            print(f"{'score':<10} {score['method']} {score['source']}: {', '.join(parts)}")


def _method(text: str) -> Any:
    """Return a method as named, or as a YAML mapping.

    Raises:
        ConfigError: it is neither.
    """
    if not text.lstrip().startswith("{"):
        return text
    import yaml

    from medfuse.errors import ConfigError

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--method {text}: no YAML mapping.") from error
    if not isinstance(found, dict) or not isinstance(found.get("use"), str):
        raise ConfigError(f"--method {text}: expected {{use: name, option: value}}.")
    return found
