"""What memory `medfuse predict` takes for few and for many images, and what two kills cost.

    python benchmarks/batch.py BUNDLE [--few 200] [--many 2000] [--size 256]

Writes images of noise, predicts the few and the many in processes of their own and prints the
largest resident memory of each, and their ratio. Then the many are predicted again, killed twice on
the way and resumed: each image must have exactly one row, with the same numbers.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", help="folder of a bundle or of a run")
    parser.add_argument("--few", type=int, default=200, metavar="N", help="images (200)")
    parser.add_argument("--many", type=int, default=2000, metavar="N", help="images (2000)")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="pixels a side (256)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medfuse-batch-") as folder:
        root = Path(folder)
        peaks = {}
        for count in (given.few, given.many):
            images = _write_images(root / str(count), count, given.size)
            begun = time.monotonic()
            peaks[count] = _peak(_command(given.bundle, images, root / f"{count}.csv"))
            seconds = time.monotonic() - begun
            print(f"{count:>6} images  {peaks[count] / 1e6:7.1f} MB at most  {seconds:6.1f} s")
        print(f"ratio          {peaks[given.many] / peaks[given.few]:7.3f}")
        _kill_twice(given.bundle, root, given.many)


def _write_images(folder: Path, count: int, size: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(0, 255, (size, size), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.png")
    return folder


def _command(bundle: str, images: Path, out: Path) -> list[str]:
    command = [sys.executable, "-m", "medfuse", "predict", bundle, str(images)]
    return [*command, "--out", str(out), "--quiet"]


def _peak(command: list[str]) -> int:
    """Return the largest resident memory of a process, in bytes."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"exit code {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    return usage.ru_maxrss * 1024


def _kill_twice(bundle: str, root: Path, count: int) -> None:
    out = root / "killed.csv"
    for share in (0.3, 0.7):
        process = subprocess.Popen(_command(bundle, root / str(count), out))
        while _rows_in(out) < share * count:
            if process.poll() is not None:
                sys.exit("ended before it could be killed")
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"killed after   {_rows_in(out):7d} rows")
    subprocess.run(_command(bundle, root / str(count), out), check=True)
    rows, whole = _table(out), dict(_table(root / f"{count}.csv"))
    same = [name for name, row in rows if whole[name] == row]
    print(f"resumed        {len(rows):7d} rows of {len(dict(rows))} images, {len(same)} as before")
    if len(rows) != count or len(dict(rows)) != count:
        sys.exit("not one row for each image")


def _rows_in(out: Path) -> int:
    part = out.with_name(f"{out.name}.part") / "rows-0.jsonl"
    return part.read_bytes().count(b"\n") if part.is_file() else 0


def _table(file: Path) -> list[tuple[str, tuple[str, ...]]]:
    with file.open(encoding="utf-8", newline="") as handle:
        return [(row[0], tuple(row[1:])) for row in list(csv.reader(handle))[1:]]


if __name__ == "__main__":
    main()
