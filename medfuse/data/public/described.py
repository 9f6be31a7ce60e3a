"""What is known of a public set before and after it is fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class FetchOptions:
    """How a set is fetched.

    Attributes:
        folder: its files are there, or go there.
        download: the network may be used.
        size: pixels of a MedMNIST set; ``None`` is 28.
        structure: of a Decathlon task: the class is whether it is there; ``None`` chooses one.
    """

    folder: Path
    download: bool = False
    size: int | None = None
    structure: str | None = None


@dataclass(frozen=True)
class Fetched:
    """A set that can be trained on.

    Attributes:
        cohort: what ``cohort.path`` takes.
        classes: names, in order.
        notes: choices that were made, in sentences.
    """

    cohort: Path
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublicSet:
    """A public set of labeled images.

    Attributes:
        name: for ``medfuse data fetch NAME``.
        summary: what it shows.
        dimensions: 2 or 3.
        license: of the data, as their authors state it.
        citation: with DOI.
        fetch: makes the cohort.
        facts: further ``name: text``, for a table.
    """

    name: str
    summary: str
    dimensions: int
    license: str
    citation: str
    fetch: Callable[[PublicSet, FetchOptions], Fetched]
    facts: Mapping[str, str] = field(default_factory=dict)
