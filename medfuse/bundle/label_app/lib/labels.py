"""Labels of images: read from what was put into the store, and divided for training."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Item = dict[str, Any]


class LabelError(ValueError):
    """Labels that cannot be trained on as they are."""


def read_label(path: str, classes: Sequence[str]) -> int:
    """Return the index of the class that a label file names, as ``{"label": "<class>"}``.

    Upper and lower case make no difference; no two classes of a bundle differ in nothing else.

    Raises:
        LabelError: it is no such file, or names no class.
    """
    expected = f'expected {{"label": NAME}}, NAME one of {", ".join(classes)}.'
    try:
        name = json.loads(Path(path).read_text(encoding="utf-8"))["label"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabelError(f"the label is no JSON object with a label, {expected}") from error
    known = {known.lower(): index for index, known in enumerate(classes)}
    if not isinstance(name, str) or name.lower() not in known:
        raise LabelError(f"the label is {str(name)[:60]!r}, {expected}")
    return known[name.lower()]


def divide(
    items: Sequence[Item], classes: Sequence[str], share: float
) -> tuple[list[Item], list[Item]]:
    """Return items for training and for validation: of every class the same share, by chance.

    The same items are divided in the same way every time.

    Args:
        items: with ``label``, the index of a class.
        classes: each is needed twice: once to learn from, once to choose the candidate by.
        share: of the items of each class that validate, at least one.

    Raises:
        LabelError: a class has fewer than two items, or the share is none.
    """
    if not 0 < share < 1:
        raise LabelError(f"val_split is {share:g}, expected a share between 0 and 1, such as 0.2.")
    counts = Counter(int(item["label"]) for item in items)
    few = [name for index, name in enumerate(classes) if counts[index] < 2]
    if few:
        found = ", ".join(f"{name} {counts[index]}" for index, name in enumerate(classes))
        raise LabelError(
            f"too few labelled images ({found}), expected at least two of every class: a network "
            f"fine-tuned without {few[0]} would unlearn it. Label more."
        )
    groups: dict[int, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: str(item["image"])):
        groups[int(item["label"])].append(item)
    training: list[Item] = []
    validation: list[Item] = []
    for index in sorted(groups):
        group = groups[index]
        random.Random(index).shuffle(group)
        count = min(max(round(len(group) * share), 1), len(group) - 1)
        validation += group[:count]
        training += group[count:]
    return training, validation
