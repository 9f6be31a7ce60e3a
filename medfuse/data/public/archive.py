"""Fetch an archive through MONAI's apps, if the network may be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from medfuse.data.public.described import FetchOptions
from medfuse.errors import CohortError


def fetch_archive(
    name: str, folder: Path, source: Callable[[], tuple[str, str]], options: FetchOptions
) -> None:
    """Leave the unpacked archive in ``folder``.

    Args:
        name: of the set, for error texts.
        folder: what the archive unpacks to, inside ``options.folder``.
        source: gives its address and MD5; called only where the network may be used.
        options: whether it may.

    Raises:
        CohortError: the network may not be used or gives something else.
    """
    if not options.download:
        raise CohortError(
            f"{folder}: there is no such folder, and the network is not used. Unpack the set "
            "there, or allow the network with --download."
        )
    from monai.apps.utils import download_and_extract

    url, md5 = source()
    file = options.folder / PurePosixPath(url).name
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        download_and_extract(url, file, options.folder, hash_val=md5, hash_type="md5")
    except (RuntimeError, OSError, ValueError) as error:
        first = " ".join(str(error).split())[:120]
        raise CohortError(f"{name}: could not be fetched ({first}).") from error
    if not folder.is_dir():
        raise CohortError(f"{name}: {file} unpacked to something else than {folder}.")
