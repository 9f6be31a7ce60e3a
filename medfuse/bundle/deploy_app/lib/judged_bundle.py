"""The bundle of the application: what it says of itself, and its code."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .dicom_report.result import ModelRecord, codes_of

_DIGESTS = "SHA256SUMS"


class JudgedBundle:
    """A bundle whose files are those that it was written with.

    Attributes:
        root: its folder.
        record: name, version and digest, as reports have them.
        volume: a case is a volume, so that a folder of DICOM files is one.
        modality: of its images, ``XR``, ``CT``, ``MR`` or ``other``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        _require_as_written(self.root)
        metadata = json.loads((self.root / "configs" / "metadata.json").read_text("utf-8"))
        image = metadata["network_data_format"]["inputs"]["image"]
        self.volume = len(image["spatial_shape"]) == 3
        self.modality = str(image["modality"])
        self._block: Mapping[str, Any] = metadata["medfuse"]
        digest = _digest(self.root / _DIGESTS)
        name, version = str(metadata["name"]), str(metadata["version"])
        self.record = ModelRecord(name, version, digest, codes_of(metadata))

    @classmethod
    def found(cls, given: Path, application: Path) -> JudgedBundle:
        """Return the bundle at the given path or in it, else the one in the application.

        Raises:
            FileNotFoundError: there is not exactly one.
        """
        for folder in (given, application / "model"):
            places = [folder, *sorted(folder.glob("*"))] if folder.is_dir() else []
            roots = [place for place in places if (place / _DIGESTS).is_file()]
            if len(roots) == 1:
                return cls(roots[0])
        raise FileNotFoundError(
            f"{application / 'model'}: not exactly one bundle. Export the application again."
        )

    def script(self, name: str) -> ModuleType:
        """Return a module of the bundle's own code."""
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))
        return importlib.import_module(f"scripts.{name}")

    def findings(self, prediction: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the classes that hold by a prediction; none where the model abstained."""
        if prediction["status"] != "ok":
            return ()
        chances: Mapping[str, float] = prediction["probabilities"]
        if self._block["link"] == "softmax":
            return (max(chances, key=chances.__getitem__),)
        limits = self._block["thresholds"]
        return tuple(name for name, chance in chances.items() if chance >= limits.get(name, 0.5))


def _require_as_written(root: Path) -> None:
    """Pass if every file has the digest that the bundle was written with.

    Raises:
        ValueError: naming the first that has not.
    """
    for line in (root / _DIGESTS).read_text("utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if not (root / name).is_file() or _digest(root / name) != digest:
            raise ValueError(f"{root / name}: absent or changed. Export the application again.")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
