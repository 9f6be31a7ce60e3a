"""Unpack an archive as MONAI's apps do, fetched first if the network may be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from medfuse.data.public.described import FetchOptions
from medfuse.errors import CohortError


def fetch_archive(
    name: str, folder: Path, source: Callable[[], tuple[str, str]], options: FetchOptions
) -> None:
    """Leave the unpacked archive in ``folder``.

    An archive that lies in ``options.folder`` is unpacked without the network.

    Args:
        name: of the set, for error texts.
        folder: what the archive unpacks to, inside ``options.folder``.
        source: gives its address and MD5.
        options: whether the network may be used.

    Raises:
        CohortError: the network may not be used or gives something else, or the archive is damaged.
    """
    url, md5 = source()
    file = options.folder / PurePosixPath(url).name
    if not options.download and not file.is_file():
        raise CohortError(
            f"{folder}: there is no such folder, and the network is not used. Put {file.name} "
            f"beside it (from {url}), or allow the network with --download."
        )
    from monai.apps.utils import download_url, extractall

    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        download_url(url, file, hash_val=md5, hash_type="md5")
        extractall(file, options.folder)
    except Exception as error:  # MONAI's are of many types, some of them plain `Exception`
        first = " ".join(str(error).split())[:120]
        verb = "unpacked" if file.is_file() else "fetched"
        raise CohortError(
            f"{name}: could not be {verb} ({first}). Fetch {url} with another program into "
            f"{options.folder}."
        ) from error
    if not folder.is_dir():
        raise CohortError(f"{name}: {file} unpacked to something else than {folder}.")
