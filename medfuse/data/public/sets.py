"""The public sets, by name."""

from __future__ import annotations

from medfuse.data.public.decathlon import decathlon_sets
from medfuse.data.public.described import Fetched, FetchOptions, PublicSet
from medfuse.data.public.medmnist import medmnist_sets
from medfuse.data.public.mednist import mednist_sets
from medfuse.errors import ConfigError
from medfuse.suggest import did_you_mean


def public_sets() -> dict[str, PublicSet]:
    """Return every set by its name."""
    return {found.name: found for found in (*medmnist_sets(), *mednist_sets(), *decathlon_sets())}


def fetch_set(name: str, options: FetchOptions) -> Fetched:
    """Return the cohort of a set; nothing is fetched unless ``options.download``.

    Raises:
        ConfigError: there is no such set, or an option that it does not have.
        CohortError: its files are absent or damaged, or cannot be fetched.
    """
    sets = public_sets()
    if name not in sets:
        raise ConfigError(
            f"no public set is named {name!r}.{did_you_mean(name, sets)} "
            "'medfuse data fetch' lists all."
        )
    return sets[name].fetch(sets[name], options)
