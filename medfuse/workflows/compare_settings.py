"""What is compared, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medfuse.errors import ConfigError

AUTO, ALL = "auto", "all"


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """What is compared, and how.

    Attributes:
        folds: to make where the cohort has none of its own.
        fusions: names; ``auto`` is every one that takes pooled features and is trained once,
            ``all`` also those that are fitted on decisions out of fold.
        pairs: every two sources too.
        baselines: k-NN and logistic regression too.
        members: networks averaged for each candidate; if ``None``, as `medfuse train` does where
            fewer than 500 cases are learned from, and else one.
        curve: sizes of a learning curve; none where ``None``, 25, 50, 100 ... where empty,
            up to three quarters of the training cases.
        draws: of the training cases at each size up to 25; of more cases fewer.
        scratch: source, as the configuration names it, whose network is also trained from random
            weights; none where ``None``.
        scratch_epochs: how long that is trained at most.
        scratch_size: of its images, ``(H, W)`` or ``(H, W, D)``; that of the source if ``None``.
        workers: processes side by side; as many as there are processors if ``None``.
        accept_overlap: compare sources that were trained on this data set.
        target: path of a cohort that the compared cases do not belong to, for adapting to it.
        download: allow weights to be fetched.
        progress: tell on stderr how far it is, see `medfuse.progress`.
        fresh: replace an earlier comparison.
    """

    folds: int = 5
    fusions: Sequence[str] = (AUTO,)
    pairs: bool = False
    baselines: bool = True
    members: int | None = None
    curve: Sequence[int] | None = None
    draws: int = 3
    scratch: str | None = None
    scratch_epochs: int = 20
    scratch_size: tuple[int, ...] | None = None
    workers: int | None = None
    accept_overlap: bool = False
    target: str | None = None
    download: bool = False
    progress: bool = True
    fresh: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("folds", 2),
            ("members", 1),
            ("draws", 1),
            ("scratch_epochs", 1),
            ("workers", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"found {name} {value}, expected {least} or more.")
        if any(size < 2 for size in self.curve or ()):
            raise ConfigError(f"found curve {list(self.curve or ())}, expected sizes of 2 or more.")
        if self.scratch_size is not None and (
            not self.scratch_size or not all(1 <= size <= 4096 for size in self.scratch_size)
        ):
            raise ConfigError(
                f"found scratch_size {list(self.scratch_size)}, expected 1 to 4096 for every axis."
            )
        if not self.fusions:
            raise ConfigError("found no fusion to compare, expected the name of one, or all.")
