"""Whether fusing helps on the sets of the recipes: the tables and times of docs/results.md.

    MEDFUSE_DATA=... MEDFUSE_WEIGHTS=... python benchmarks/comparison.py ct_covid2 --out comparisons

Sources: the two ImageNet backbones of the recipes, `mini:resnet`, and others by --source (a
folder that `medfuse pretrain` wrote). The bank is filled first and the comparison timed apart;
seconds of all processors stand beside those of the clock, for a machine that does other work too.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from joblib.externals.loky import get_reusable_executor

from medfuse.config import Experiment, load_experiment, parse_experiment
from medfuse.report import candidate_table, markdown_table
from medfuse.workflows.compare import compare
from medfuse.workflows.compare_settings import CompareSettings
from medfuse.workflows.fill import fill_bank

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
NAMES = {"ct_covid2": "multi_source"}
EMBEDDED = "mini:resnet"


def main() -> None:
    """Compare on each set that is asked for and print its verdict, its table and its times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "sets", nargs="*", default=["brain_mri4", "cxr_covid3", "ct_covid2", "pneumoniamnist"]
    )
    parser.add_argument("--out", type=Path, default=Path("comparisons"))
    parser.add_argument("--source", action="append", default=[], help="one more, by its folder")
    parser.add_argument("--curve", action="store_true", help="learning curves from 25 cases up")
    parser.add_argument(
        "--scratch", action="store_true", help=f"{EMBEDDED} from random weights, at 64 x 64, too"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    for name in arguments.sets:
        experiment = experiment_of(name, arguments.source, arguments.set)
        report(name, experiment, arguments)


def report(name: str, experiment: Experiment, arguments: argparse.Namespace) -> None:
    """Fill the bank, compare, and print what was found and how long it took."""
    settings = CompareSettings(
        curve=() if arguments.curve else None,
        scratch=EMBEDDED if arguments.scratch else None,
        scratch_epochs=10,
        scratch_size=(64, 64),
        accept_overlap=True,
    )
    filled = timed(lambda: fill_bank(experiment))
    found, clock, processor = timed(lambda: compare(experiment, arguments.out / name, settings))
    print(f"## {name}\n\n{found.verdict}\n")
    print("\n".join(f"- {remark}" for remark in found.comparison["remarks"]), end="\n\n")
    print(markdown_table(candidate_table(found.comparison)))
    print(f"bank: {filled[1]:.0f} s, {filled[2]:.0f} s of processors")
    print(f"comparison: {clock:.0f} s, {processor:.0f} s of processors", flush=True)


def experiment_of(name: str, sources: list[str], overrides: list[str]) -> Experiment:
    """Return the recipe of a set with more sources; a cohort without a test part in five folds."""
    recipe = load_experiment(RECIPES / f"{NAMES.get(name, name)}.yaml", overrides)
    data: dict[str, Any] = recipe.model_dump(mode="json")
    known = [source["use"] for source in data["sources"]]
    data["sources"] += [{"use": use} for use in (EMBEDDED, *sources) if use not in known]
    if name in ("cxr_covid3", "ct_covid2"):
        data["cohort"]["split"] = {"folds": 5, "fold": 0, "seed": 0}
    return parse_experiment(data)


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return a result, the seconds it took by the clock, and those of all processors."""
    start, spent = time.monotonic(), processors()
    result = run()
    get_reusable_executor().shutdown(wait=True)  # what its processes used is counted at their end
    return result, time.monotonic() - start, processors() - spent


def processors() -> float:
    """Return the seconds of processors that this process and its ended children have used."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    found = [resource.getrusage(one) for one in who]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


if __name__ == "__main__":
    main()
