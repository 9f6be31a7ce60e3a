"""How long commands take to begin, and one image to be classified, beside the imports of MONAI.

    python benchmarks/startup.py [--rounds 5] [--bundle bundles/chest-xray_classification]

Each round runs every command once in a process of its own, after one that is not counted. The
first column is the fastest round, the ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from whole_runs import machine

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = "import torch, monai"


def main() -> None:
    """Print a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--bundle", type=Path, default=ROOT / "bundles" / "chest-xray_classification"
    )
    arguments = parser.parse_args()
    print(machine())
    print("\n".join(table(commands(arguments.bundle), arguments.rounds)))


def commands(bundle: Path) -> dict[str, list[str]]:
    medfuse = [sys.executable, "-m", "medfuse"]
    image = next((bundle / "examples" / "images").iterdir())
    return {
        IMPORTS: [sys.executable, "-c", IMPORTS],
        "medfuse --help": [*medfuse, "--help"],
        "medfuse plugins list": [*medfuse, "plugins", "list"],
        "medfuse predict, one image": [*medfuse, "predict", str(bundle), str(image)],
    }


def table(programs: Mapping[str, Sequence[str]], rounds: int) -> list[str]:
    """Return the table; the first program is what the others are compared with."""
    spent: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, command in programs.items():
            seconds = seconds_of(command)
            if number:
                spent[name].append(seconds)
    first = next(iter(spent))
    lines = [f"| command | seconds | over `{first}` |", "|---|---|---|"]
    for name, found in spent.items():
        ratio = statistics.median(a / b for a, b in zip(found, spent[first], strict=True))
        lines.append(f"| `{name}` | {min(found):.2f} | {ratio:.2f} |")
    return lines


def seconds_of(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
