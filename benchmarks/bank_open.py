"""How long 100,000 banked vectors take from the opened file into one array.

    python benchmarks/bank_open.py [--rows 100000] [--features 512]

The bank is generated. Each row is found by its key and checked against its checksum, as in a
run; ``numpy.load`` of the same values, which does neither, stands beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from medfuse.features.bank import FeatureBank
from medfuse.features.keys import BankKey
from medfuse.features.wanted import WantedRows
from medfuse.storage import digest_of

COMMIT = 5000


def main() -> None:
    """Print the seconds by the clock and of the processor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    args = parser.parse_args()
    keys = [BankKey(digest_of(str(image)), 0) for image in range(args.rows)]
    values = np.random.default_rng(0).standard_normal((len(keys), args.features), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "plain.npy", values)
        fill(Path(folder), keys, values)
        found = np.empty_like(values)
        digests = [key.image for key in keys]
        numbers = {digest: number for number, digest in enumerate(digests)}
        wanted = WantedRows(numbers, digests, np.zeros(len(keys), dtype=np.int64))
        clock, processor = time.monotonic(), time.process_time()
        read(Path(folder), wanted, found)
        clock, processor = time.monotonic() - clock, time.process_time() - processor
        begun = time.monotonic()
        np.load(Path(folder) / "plain.npy")
        plain = time.monotonic() - begun
    np.testing.assert_array_equal(found, values)
    print(f"{args.rows} rows of {args.features} float32, {values.nbytes / 1e6:.0f} MB")
    print(f"bank: {clock:.2f} s by the clock, {processor:.2f} s of the processor")
    print(f"numpy.load: {plain:.2f} s")


def fill(folder: Path, keys: list[BankKey], values: np.ndarray) -> None:
    with FeatureBank(folder / "bank").recipe({"weights": "benchmark"}) as store:
        for start in range(0, len(keys), COMMIT):
            some = slice(start, start + COMMIT)
            store.put(dict(zip(keys[some], values[some], strict=True)))


def read(folder: Path, wanted: WantedRows, into: np.ndarray) -> None:
    with FeatureBank(folder / "bank").recipe({"weights": "benchmark"}) as store:
        for rows, block in store.read(wanted):
            into[rows.images] = block


if __name__ == "__main__":
    main()
