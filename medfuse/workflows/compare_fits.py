"""Train many candidates on many folds: side by side, each kept as soon as it is done."""

from __future__ import annotations

import contextlib
import logging
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from medfuse.progress import progress_bar
from medfuse.storage import atomic_path, digest_of
from medfuse.threads import one_thread
from medfuse.training.candidate import BankedCases, Fit, Fitted, Recipe, fit_candidate
from medfuse.training.composed import compose, networks_of
from medfuse.workflows.workers import side_by_side

# Of what is kept of a fit: 2 has more than probabilities.
_FORMAT = 2
_OF_NETWORKS = ("logits", "held_out_logits", "held_out_labels")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class NamedFit:
    """A fit and the name under which it is kept.

    Attributes:
        key: digest of all that decides it.
        fit: what to train.
        context: digest of the cases and of how candidates learn.
    """

    key: str
    fit: Fit
    context: str


def named_fit(fit: Fit, context: str) -> NamedFit:
    """Return a fit with its name.

    Args:
        fit: what to train.
        context: digest of the cases and of how candidates learn.
    """
    facts: dict[str, Any] = {
        "format": _FORMAT,
        "context": context,
        "method": fit.method,
        "sources": list(fit.sources),
        "fusion": fit.fusion.model_dump(mode="json"),
        "train": digest_of(fit.train.tolist()),
        "test": digest_of(fit.test.tolist()),
        "seed": fit.seed,
    }
    return NamedFit(digest_of(facts)[:32], fit, context)


@dataclass(frozen=True)
class FitStore:
    """Finished fits, one file each, whole or absent.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    def load(self, key: str) -> Fitted | None:
        """Return a finished fit; ``None`` where there is none, or its file is damaged."""
        try:
            with (
                (self.folder / f"{key}.npz").open("rb") as stream,
                np.load(stream, allow_pickle=False) as found,
            ):
                return Fitted(
                    found["probabilities"],
                    float(found["held_out_loss"]),
                    float(found["setting"]),
                    *(found.get(name) for name in _OF_NETWORKS),
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, key: str, fitted: Fitted) -> None:
        """Keep a finished fit.

        Raises:
            OutputError: the folder cannot be written.
        """
        with atomic_path(self.folder / f"{key}.npz", 0o600) as path, path.open("wb") as stream:
            found = {field.name: getattr(fitted, field.name) for field in fields(fitted)}
            np.savez(stream, **{name: x for name, x in found.items() if x is not None})


@dataclass(frozen=True, eq=False)
class Workshop:
    """What all fits share.

    Attributes:
        cases: banked.
        recipe: how to learn.
        store: where finished fits are kept.
        workers: processes side by side; 1 works in this one.
        progress: tell on stderr how far it is, see `medfuse.progress`.
    """

    cases: BankedCases
    recipe: Recipe
    store: FitStore
    workers: int = 1
    progress: bool = True

    def run(self, fits: Sequence[NamedFit], title: str) -> dict[str, Fitted]:
        """Return all fits by key; only those that are not there yet are computed.

        The result does not depend on the number of workers: each fit has its own seed and thread.
        A candidate that is put together from networks of single sources (`networks_of`) is kept
        as these networks, which others may share.
        """
        parts = {named.key: self._parts(named) for named in fits}
        known = self._trained([one for named in fits for one in parts[named.key] or [named]], title)
        for named in fits:
            if parts[named.key]:
                networks = [known[one.key] for one in parts[named.key]]
                known[named.key] = compose(self.cases, named.fit, self.recipe, networks)
        return known

    def _parts(self, named: NamedFit) -> list[NamedFit]:
        networks = networks_of(self.cases, named.fit, self.recipe)
        return [named_fit(one, named.context) for one in networks]

    def _trained(self, fits: Sequence[NamedFit], title: str) -> dict[str, Fitted]:
        wanted = {f.key: f for f in fits}
        found = {key: self.store.load(key) for key in wanted}
        missing = {key: f for key, f in wanted.items() if found[key] is None}
        known = {key: fitted for key, fitted in found.items() if fitted is not None}
        if known:
            count = f"{len(known)} of {len(found)}" if missing else f"all {len(found)}"
            _log.info("%s: %s fits are here already", title, count)
        queue = sorted(missing.values(), key=lambda f: -self._cost(f.fit))
        with self._bar(queue, title) as bar:
            for key, fitted in self._results(queue):
                self.store.save(key, fitted)
                known[key] = fitted
                bar.update(self._cost(missing[key].fit))
        return known

    def _results(self, queue: Sequence[NamedFit]) -> Iterator[tuple[str, Fitted]]:
        if self.workers == 1 or len(queue) < 2:
            yield from (self._one(named) for named in queue)
            return
        calls = [(self.recipe, named) for named in queue]
        yield from side_by_side(_fit, self.cases, calls, self.workers)

    def _one(self, named: NamedFit) -> tuple[str, Fitted]:
        return _fit(self.cases, self.recipe, named)

    def _cost(self, fit: Fit) -> int:
        """Return about how long a fit takes, in no unit."""
        width = sum(self.cases.values[i].shape[-1] for i in fit.sources)
        members = self.recipe.members_of(len(fit.train)) if fit.method == "network" else 1
        return max(1, members * len(fit.train) * int(width) // 1000)

    @contextlib.contextmanager
    def _bar(self, queue: Sequence[NamedFit], title: str) -> Iterator[Any]:
        if queue:
            _log.info("%s: %d fits, %d at a time", title, len(queue), self.workers)
        with progress_bar(
            None,
            title,
            sum(self._cost(named.fit) for named in queue),
            shown=self.progress,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
            leave=True,
        ) as bar:
            yield bar


def by_key(fits: Mapping[Any, NamedFit], found: Mapping[str, Fitted]) -> dict[Any, Fitted]:
    """Return finished fits under the names of ``fits``."""
    return {name: found[named.key] for name, named in fits.items()}


def _fit(cases: BankedCases, recipe: Recipe, named: NamedFit) -> tuple[str, Fitted]:
    from threadpoolctl import threadpool_limits

    # torch's number first: the other limit does not reach the MKL inside torch, and then torch
    # takes itself for limited while its matrix products wait in vain for a second thread.
    with one_thread(), threadpool_limits(1):
        return named.key, fit_candidate(cases, named.fit, recipe)
