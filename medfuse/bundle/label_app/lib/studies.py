"""The folder of studies: all files that the bundle reads, not only those that MONAI Label lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore


class Studies(LocalDatastore):
    """A local store whose images are files of the bundle's endings, in a folder without subfolders.

    Args:
        folder: of the images; labels lie in its subfolder ``labels``.
        suffixes: endings in lower case; upper case is taken too.
        volumes: every subfolder is an image as well, a series of DICOM files.
        options: of `LocalDatastore`.
    """

    def __init__(
        self, folder: str, suffixes: list[str], volumes: bool = False, **options: Any
    ) -> None:
        self._volumes = volumes
        both = [ending for suffix in suffixes for ending in (suffix, suffix.upper())]
        super().__init__(folder, extensions=[f"*{ending}" for ending in both], **options)

    def path_of(self, image: str) -> str:
        """Return where an image lies, also one that came after the last look; empty if nowhere."""
        found = str(self.get_image_uri(image))
        if not found:
            self.refresh()
            found = str(self.get_image_uri(image))
        return found

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        """Return what lies in a folder; MONAI Label lists hidden files, and no folder."""
        found = super()._list_files(path, patterns)
        listed = {name: file for name, file in found.items() if not name.startswith(".")}
        if self._volumes and Path(path) == Path(self._datastore.image_path()):
            labels = Path(self._datastore.labels_dir).name
            folders = [f.name for f in Path(path).iterdir() if f.is_dir() and f.name[0] != "."]
            listed |= {name: name for name in folders if name != labels}
        return listed

    def _to_id(self, file: str) -> tuple[str, str]:
        """Return name and ending; MONAI Label cuts the ending out wherever it occurs."""
        if (Path(self._datastore.image_path()) / file).is_dir():
            return file, ""
        known = [pattern.removeprefix("*") for pattern in self._extensions]
        fitting = [ending for ending in known if file.endswith(ending)]
        ending = max(fitting, key=len, default=Path(file).suffix)
        return file.removesuffix(ending) if ending else file, ending
