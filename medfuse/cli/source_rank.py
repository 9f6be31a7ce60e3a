"""``medfuse sources rank``: which of many sources suit a cohort, before anything is trained."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfuse.cli.counts import at_least
from medfuse.cli.table import format_table

if TYPE_CHECKING:
    from medfuse.config import SourceConfig
    from medfuse.workflows.source_ranking import RankedSource, SourceRanking

HELP = "order candidate sources by how well their frozen features tell the classes apart"

_TITLES = {
    "probe": "PROBE AUROC",
    "neighbors": "NEIGHBORS",
    "h_score": "H-SCORE",
    "logme": "LOGME",
}
_EPILOG = """\
examples:
  medfuse sources rank images/ --source mini:resnet --source mini:densenet --source timm:resnet18
  medfuse sources rank experiment.yaml --all-local --out ranking.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _add_what(parser)
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="S",
        help="plugin:name.weights, plugin:name@FILE, or a YAML mapping {use: ..., cut: ...}; "
        "repeat for several; beside those of a CONFIG",
    )
    parser.add_argument(
        "--all-local", action="store_true", help="every source whose weights are on this machine"
    )
    parser.add_argument(
        "--pick",
        type=at_least(1),
        default=3,
        metavar="N",
        help="sources to suggest, at most (%(default)s)",
    )
    parser.add_argument(
        "--cases",
        type=at_least(1),
        default=1000,
        metavar="N",
        help="cases to look at, at most (%(default)s)",
    )
    parser.add_argument("--download", action="store_true", help="allow weights to be fetched")
    parser.add_argument("--out", metavar="FILE.csv", help="write the table there too")
    parser.add_argument("--json", action="store_true", help="as JSON, with all similarities")


def _add_what(parser: argparse.ArgumentParser) -> None:
    """Declare what says which cases and how they are read, as in ``medfuse train``."""
    parser.add_argument("what", metavar="COHORT|CONFIG", help="labelled images, or a YAML file")
    parser.add_argument("--modality", choices=("XR", "CT", "MR", "other"), help="of the images")
    parser.add_argument("--group-pattern", metavar="REGEX", help="patient id in a file name")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )


def run(args: argparse.Namespace) -> int:
    """Rank and print the order, what goes together, and the command that trains with it."""
    from medfuse.workflows.rank import RankingSettings, rank_sources

    settings = RankingSettings(
        cases=args.cases,
        pick=args.pick,
        all_local=args.all_local,
        download=args.download,
        progress=not args.quiet,
    )
    ranking = rank_sources(_experiment(args), args.out, settings)
    command = _train_command(args, ranking)
    if args.json:
        print(json.dumps({**ranking.to_dict(), "next": command}, indent=2))
        return 0
    for line in (
        *_table_lines(ranking),
        "",
        *_suggestion_lines(ranking, args.pick),
        "",
        *_next_lines(command),
    ):
        print(line)
    return 0


def _experiment(args: argparse.Namespace) -> Any:
    """Return what to rank: of a configuration the whole, with the named sources beside its own."""
    from medfuse.cli.train import component
    from medfuse.config import load_experiment, with_overrides
    from medfuse.errors import ConfigError

    named = [component(text, "--source") for text in args.source]
    if _is_config(args.what):
        extra = [f"--{n}" for n in ("modality", "group-pattern") if getattr(args, _dest(n))]
        if extra:
            raise ConfigError(
                f"{args.what}: {extra[0]} is for images without a configuration. "
                "Write it into the file, or use --set."
            )
        experiment = load_experiment(args.what, args.set)
        given = experiment.model_dump(mode="json", exclude_unset=True)
        return {**given, "sources": [*given["sources"], *named]}
    if not named and not args.all_local:
        raise ConfigError(
            f"{args.what}: no source is named. Add --source once for each candidate "
            "('medfuse sources list' shows all), or --all-local."
        )
    data: dict[str, Any] = {"cohort": {"path": args.what}}
    if named:
        data["sources"] = named
    if args.group_pattern:
        data["cohort"]["group_pattern"] = args.group_pattern
    if args.modality:
        data["inputs"] = {"image": {"modality": args.modality}}
    return with_overrides(data, args.set)


def _table_lines(ranking: SourceRanking) -> list[str]:
    header = ["PLACE", "SOURCE", *_TITLES.values(), "MOST LIKE"]
    places = {row.source: row.place for row in ranking.sources}
    rows = [_cells(row, places) for row in ranking.sources]
    return [
        *format_table(header, rows).splitlines(),
        "",
        f"{ranking.cases} cases that a run learns from, none of its test part; {ranking.groups} "
        "share neither patient nor picture. Place: by the mean rank",
        "over the four measures (in parentheses: where it lies in 90 % of half-samples of the "
        "patients). Measures: larger is better, with",
        "95 % intervals. Most like: linear CKA with the most similar source, and its place.",
    ]


def _cells(row: RankedSource, places: Mapping[str, int]) -> list[str]:
    low, high = row.places
    spread = f" ({low} to {high})" if high > low else ""
    measures = [_measure(row.measures[name]) for name in _TITLES]
    alike = f"{row.similarity:.2f} with {places[row.most_alike]}"
    return [f"{row.place}{spread}", row.source, *measures, alike]


def _measure(entry: Mapping[str, float | None]) -> str:
    value, low, high = entry["value"], entry["low"], entry["high"]
    if value is None:
        return "-"
    known = low is not None and high is not None
    return f"{value:.3f} ({low:.2f} to {high:.2f})" if known else f"{value:.3f}"


def _suggestion_lines(ranking: SourceRanking, pick: int) -> list[str]:
    first, *others = ranking.suggested
    rows = [(first.source, f"{first.auroc:.3f}", "", "", "")]
    for row in others:
        gain = f"{row.gain:+.3f}", f"{row.helps:.0%}", f"{row.similarity:.2f}"
        rows.append((f"+ {row.source}", f"{row.auroc:.3f}", *gain))
    header = ["GO TOGETHER", "PROBE AUROC", "GAIN", "HELPS IN", "LIKE THOSE ABOVE"]
    lines = format_table(header, rows).splitlines()
    if others:
        lines += ["", "Helps in: half-samples of the patients in which there is a gain at all."]
    if len(ranking.suggested) < min(pick, len(ranking.sources)):
        lines.append("No further source helps in more than half of the half-samples.")
    return lines


def _next_lines(command: str) -> list[str]:
    return [
        "Next: train with these; the run tests on cases not used here whether fusing them helped.",
        f"  {command}",
    ]


def _train_command(args: argparse.Namespace, ranking: SourceRanking) -> str:
    """Return the command that trains with the suggested sources, as a shell reads it."""
    sources = [_as_given(row.config) for row in ranking.suggested]
    words = ["medfuse", "train", args.what]
    for option in ("modality", "group-pattern"):
        if getattr(args, _dest(option)):
            words += [f"--{option}", getattr(args, _dest(option))]
    for change in args.set:
        words += ["--set", change]
    if _is_config(args.what):
        words += ["--set", f"sources={json.dumps(sources)}"]
    else:
        given = [source if isinstance(source, str) else json.dumps(source) for source in sources]
        words += [word for source in given for word in ("--source", source)]
    return shlex.join([*words, *(["--download"] if args.download else []), "--out", "RUN"])


def _as_given(config: SourceConfig) -> str | dict[str, Any]:
    """Return a source as a configuration names it: by its name alone where that is all."""
    given = config.model_dump(mode="json", exclude_defaults=True)
    return config.use if list(given) == ["use"] else given


def _is_config(what: str) -> bool:
    return Path(what).suffix.lower() in (".yaml", ".yml")


def _dest(option: str) -> str:
    return option.replace("-", "_")
