"""Find weights: a named file, a file inside a package, a cache, or the network if allowed."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import torch

from medfuse.contract import WeightsSpec
from medfuse.errors import WeightsError
from medfuse.registry.references import SourceReference
from medfuse.storage import cache_folder

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
_IN_PACKAGE = re.compile(r"([A-Za-z_]\w+(?:\.\w+)*):(.+)")


def locate_weights(
    reference: SourceReference, weights: WeightsSpec | None, download: bool = False
) -> Path:
    """Return the path of a source's weights file; the network is used only with ``download``.

    Raises:
        WeightsError: there is no such file, here or (with ``download``) there.
    """
    if reference.file is not None:
        return Path(reference.file).expanduser()
    if weights is None or not (weights.path or weights.hub_id or weights.url):
        raise WeightsError(
            f"source {reference}: no weights of it are published. Give a file, as in "
            f"{_with_file(reference)}, or ask for an untrained network: {_plain(reference)}.random"
        )
    found = _on_this_machine(weights)
    if found is None and download:
        found = _downloaded(weights, str(reference))
    if found is None:
        raise WeightsError(
            f"source {reference}: its weights are not on this machine. Allow the network with "
            f"--download, or give a file, as in {_with_file(reference)}"
        )
    return found


def packaged_file(path: str) -> Path:
    """Return the path of ``package:file`` inside an installed package, or of a plain path."""
    inside = _IN_PACKAGE.fullmatch(path)
    if inside is None:
        return Path(path).expanduser()
    package, file = inside.groups()
    return Path(str(resources.files(package).joinpath(file)))


def _on_this_machine(weights: WeightsSpec) -> Path | None:
    if weights.path:
        return packaged_file(weights.path)
    if weights.hub_id:
        return _cached_from_hub(weights.hub_id)
    name = _file_name(weights.url or "")
    folders = (cache_folder() / "weights", Path(torch.hub.get_dir()) / "checkpoints")
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _downloaded(weights: WeightsSpec, source: str) -> Path:
    try:
        if weights.hub_id:
            return _from_hub(weights.hub_id)
        return _from_url(weights.url or "")
    except Exception as error:  # each library has its own errors; all mean the same here
        text = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"source {source}: the download of {weights.hub_id or weights.url} failed ({text}). "
            f"Try again, or get the file another way and give it behind @."
        ) from error


def _hub_place(hub_id: str) -> tuple[str, tuple[str, ...]]:
    owner, name, *file = hub_id.split("/", 2)
    return f"{owner}/{name}", tuple(file) or _HUB_FILES


def _cached_from_hub(hub_id: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, files = _hub_place(hub_id)
    found = (try_to_load_from_cache(repository, file) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _from_hub(hub_id: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository, files = _hub_place(hub_id)
    try:
        return Path(hf_hub_download(repository, files[0]))
    except EntryNotFoundError:
        return Path(hf_hub_download(repository, files[-1]))


def _from_url(url: str) -> Path:
    name = _file_name(url)
    hashed = _HASH_IN_NAME.search(name)
    target = cache_folder() / "weights" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = hashed.group(1) if hashed else None
    torch.hub.download_url_to_file(url, str(target), hash_prefix=prefix, progress=False)
    return target


def _file_name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def _plain(reference: SourceReference) -> str:
    return f"{reference.plugin}:{reference.name}" if reference.plugin else reference.name


def _with_file(reference: SourceReference) -> str:
    weights = f".{reference.weights}" if reference.weights else ""
    return f"{_plain(reference)}{weights}@FILE"
