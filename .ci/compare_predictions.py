"""Fail unless two prediction tables give the same images the same probabilities to 1e-5."""

import sys
from pathlib import Path

import pandas as pd

TOLERANCE = 1e-5


def by_image(file: str) -> pd.DataFrame:
    """Return the probabilities, indexed by the image's base name."""
    table = pd.read_csv(file)
    key = "image" if "image" in table else table.columns[0]
    table.index = table[key].map(lambda text: Path(str(text)).name)
    return table.filter(like="prob_").sort_index()


first, second = map(by_image, sys.argv[1:3])
if first.empty or list(first.index) != list(second.index) or list(first) != list(second):
    sys.exit(f"other images or classes: {first.shape} against {second.shape}")
largest = float((first - second).abs().to_numpy().max())
print(f"{len(first)} images, largest difference {largest:.1e}")
sys.exit(largest > TOLERANCE)
