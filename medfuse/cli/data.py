"""``medfuse data``: check a cohort, show it, write its split, fetch a public set."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medfuse.audit import Audit
    from medfuse.config import CohortConfig, Experiment, InputConfig
    from medfuse.data.public import PublicSet
    from medfuse.workflows.preview import Preview

SUMMARY = "what is in a cohort, and its split"
_COHORT = "class folders, CSV, JSON list, .npz, or a configuration (YAML)"
_MOST_FINDINGS = 40
_MOST_SHOWN = 20
_COHORT_KEYS = ("label", "group", "group_pattern", "on_leak")
_SPLIT_KEYS = (
    "test", "validation", "calibration", "folds", "fold", "repeats", "hold_out_site", "seed",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    _add_check(commands.add_parser("check", help="read every file; say what is wrong with it"))
    _add_preview(commands.add_parser("preview", help="pictures of it: stored, as used, augmented"))
    _add_split(commands.add_parser("split", help="divide the cases by patient; write the file"))
    _add_fetch(commands.add_parser("fetch", help="a public set by name, as a cohort"))


def run(arguments: argparse.Namespace) -> int:
    """Do what the subcommand says and print its result."""
    subcommands = {"check": _check, "preview": _preview, "split": _split, "fetch": _fetch}
    return subcommands[arguments.subcommand](arguments)


def _add_cohort(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cohort", metavar="COHORT", help=_COHORT)
    parser.add_argument("--label", metavar="COLUMN", help="column of the class (default: label)")
    parser.add_argument("--group", metavar="COLUMN", help="column of the patient")
    parser.add_argument("--group-pattern", metavar="REGEX", help="patient id in a file name")
    parser.add_argument(
        "--input", action="append", metavar="COLUMN", help="column of a file; repeat for several"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable result")


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_cohort(parser)
    parser.add_argument("--out", metavar="DIR", help="write check.html, check.json, plots there")


def _add_preview(parser: argparse.ArgumentParser) -> None:
    _add_cohort(parser)
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="write preview.html, preview.json, plots there"
    )
    parser.add_argument(
        "--cases", type=_count, default=3, metavar="N", help="of each class (default: 3)"
    )
    parser.add_argument(
        "--views", type=_count, default=4, metavar="N", help="augmented, of each case (default: 4)"
    )
    parser.add_argument("--seed", type=int, help="of the views (default: augmentation.seed)")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) > _MOST_SHOWN:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 0 to {_MOST_SHOWN}")
    return int(text)


def _add_split(parser: argparse.ArgumentParser) -> None:
    _add_cohort(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="the new cohort file (CSV)")
    for part, share in {"test": "0.2", "validation": "0.15", "calibration": "0"}.items():
        text = f"of the cases (default: {share})"
        parser.add_argument(f"--{part}", type=float, metavar="FRACTION", help=text)
    parser.add_argument("--folds", type=int, metavar="K", help="K-fold instead of --test")
    parser.add_argument("--fold", type=int, metavar="N", help="the fold that is tested")
    parser.add_argument(
        "--repeats", type=int, metavar="R", help="R divisions into folds in one file"
    )
    parser.add_argument("--hold-out-site", metavar="NAME", help="its cases are the test part")
    parser.add_argument("--seed", type=int, help="another one divides otherwise (default: 0)")
    parser.add_argument("--on-leak", choices=("refuse", "drop_from_training"))


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the set; none lists all")
    parser.add_argument("--out", metavar="DIR", help="folder for the set")
    parser.add_argument("--download", action="store_true", help="allow the network")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="of a MedMNIST set: 28 to 224")
    parser.add_argument(
        "--structure", metavar="NAME", help="of a Decathlon task: the class is whether it is there"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable result")


def _check(arguments: argparse.Namespace) -> int:
    from medfuse.workflows.check import check

    cohort, inputs = _described(arguments)
    found = check(cohort, arguments.out, inputs=inputs, progress=not arguments.quiet)
    if arguments.json:
        print(json.dumps(found.summary(), indent=2))
        return 0
    print("\n\n".join(_summary(found)))
    if arguments.out:
        print(f"\npage     {arguments.out}/check.html")
    return 0


def _summary(found: Audit) -> list[str]:
    from medfuse.cli.table import format_table
    from medfuse.workflows.check_page import cohort_tables, verdict

    parts = [
        format_table([cell.upper() for cell in table.header], table.rows)
        for table in cohort_tables(found)
    ]
    if found.shortcuts.shortcuts:
        lines = [
            [s.title, f"{s.auroc:.3f} [{s.low:.3f}, {s.high:.3f}]", s.strength]
            for s in found.shortcuts.shortcuts
        ]
        parts.append(format_table(["TRIVIAL FEATURES", "AUROC OF THE LABEL", "SHORTCUT"], lines))
    shown = found.findings[:_MOST_FINDINGS]
    texts = [f"{finding.level.upper():<8} {finding.text}" for finding in shown]
    if len(found.findings) > len(shown):
        texts.append(f"... and {len(found.findings) - len(shown)} more; see --json")
    return [*parts, "\n".join([*texts, f"VERDICT  {verdict(found)}"])]


def _preview(arguments: argparse.Namespace) -> int:
    from medfuse.workflows.preview import PreviewOptions, preview

    cohort, inputs = _described(arguments)
    augmentation = _experiment(arguments).augmentation
    if arguments.seed is not None:
        augmentation = augmentation.model_copy(update={"seed": arguments.seed})
    found = preview(
        cohort,
        arguments.out,
        inputs=inputs,
        options=PreviewOptions(arguments.cases, arguments.views, augmentation),
        progress=not arguments.quiet,
    )
    if arguments.json:
        print(json.dumps(found.summary(), indent=2))
        return 0
    print("\n\n".join(_settings(found)))
    print(f"\npage     {arguments.out}/preview.html")
    return 0


def _settings(found: Preview) -> list[str]:
    from medfuse.cli.table import format_table
    from medfuse.workflows.preview_page import settings_table

    parts = []
    for read in found.inputs:
        table = settings_table(read)
        parts.append(format_table([read.name.upper(), "GIVEN", "BECAME"], table.rows))
        refused = [f"case {case_id} cannot be read: {code}" for case_id, code in read.refused]
        parts += ["\n".join(refused)] if refused else []
    return parts


def _split(arguments: argparse.Namespace) -> int:
    from medfuse.workflows.split import divide

    cohort = divide(_experiment(arguments), arguments.out, progress=not arguments.quiet)
    counts, sizes = cohort.counts(), cohort.sizes()
    if arguments.json:
        print(json.dumps({"file": arguments.out, "counts": counts, "cases": sizes}, indent=2))
        return 0
    for role, row in counts.items():
        print(f"{role:<12} {sizes.get(role, 0):>6}  {row}")
    print(f"written to {arguments.out}")
    return 0


def _described(
    arguments: argparse.Namespace,
) -> tuple[CohortConfig, str | dict[str, InputConfig]]:
    """Return the cohort and what its cases have; a bare cohort has what it has."""
    experiment = _experiment(arguments)
    named = arguments.input or _is_configuration(arguments)
    return experiment.cohort, dict(experiment.inputs) if named else "image"


def _experiment(arguments: argparse.Namespace) -> Experiment:
    """Return the experiment of a configuration or of a bare cohort; options go before it."""
    from medfuse.config import load_experiment, parse_experiment

    given = {name: vars(arguments).get(name) for name in _COHORT_KEYS}
    split = {name: vars(arguments).get(name) for name in _SPLIT_KEYS}
    chosen = {name: value for name, value in given.items() if value is not None}
    division = {name: value for name, value in split.items() if value is not None}
    if not _is_configuration(arguments):
        names = arguments.input or ["image"]
        data: dict[str, Any] = {
            "cohort": {"path": arguments.cohort, **chosen, "split": division},
            "inputs": {name: {} for name in names},
            "sources": [{"use": "any", "input": name} for name in names],
        }
        return parse_experiment(data, "command line")
    overrides = [f"cohort.{name}={json.dumps(value)}" for name, value in chosen.items()]
    overrides += [f"cohort.split.{name}={json.dumps(value)}" for name, value in division.items()]
    return load_experiment(arguments.cohort, overrides)


def _is_configuration(arguments: argparse.Namespace) -> bool:
    return str(arguments.cohort).lower().endswith((".yaml", ".yml"))


def _fetch(arguments: argparse.Namespace) -> int:
    from medfuse.workflows.fetch import available, fetch

    sets = available()
    if arguments.name is None:
        return _list_sets(sets, arguments.json)
    fetched = fetch(
        arguments.name,
        arguments.out or arguments.name,
        download=arguments.download,
        size=arguments.size,
        structure=arguments.structure,
    )
    described = sets[arguments.name]
    facts = {
        "cohort": str(fetched.cohort),
        "classes": ", ".join(fetched.classes),
        "license": described.license,
        "cite": described.citation,
    }
    if arguments.json:
        print(json.dumps({**facts, "classes": fetched.classes, "notes": fetched.notes}, indent=2))
        return 0
    for name, text in facts.items():
        print(f"{name:<8} {text}")
    for note in fetched.notes:
        print(f"{'note':<8} {note}")
    print(f"{'next':<8} medfuse data check {fetched.cohort} --out {fetched.cohort.stem}-check")
    return 0


def _list_sets(sets: Mapping[str, PublicSet], as_json: bool) -> int:
    from medfuse.cli.table import format_table

    if as_json:
        rows = {s.name: {"summary": s.summary, "license": s.license} for s in sets.values()}
        print(json.dumps(rows, indent=2))
        return 0
    table = [[s.name, f"{s.dimensions}D", s.license, s.summary] for s in sets.values()]
    print(format_table(["NAME", "", "LICENSE", "WHAT"], table))
    return 0
