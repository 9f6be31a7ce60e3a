"""What the application knows of its bundle."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

WEIGHTS = "model.pt"
CANDIDATE = "model_candidate.pt"
GRAPH = "model.ts"
_SEVERAL = "a label of MONAI Label names one class, here a case may have several"


class ServedBundle:
    """The bundle in the application's folder ``model``.

    Attributes:
        root: its folder.
        name: of the model, that of the folder.
        classes: in the order of the probabilities.
        volume: a case is a volume, so that a folder of DICOM files is one.
        exclusive: one class per case; else several labels may hold.
    """

    def __init__(self, root: Path) -> None:
        metadata = _read(root / "configs" / "metadata.json")
        formats = metadata["network_data_format"]
        self.root = root
        self.name = root.name
        self.description = str(metadata["description"])
        self.version = str(metadata["version"])
        self.classes: list[str] = list(formats["outputs"]["pred"]["channel_def"].values())
        self.volume = len(formats["inputs"]["image"]["spatial_shape"]) == 3
        self._block: dict[str, Any] = metadata["medfuse"]
        self.exclusive = self._block["link"] == "softmax"
        self._inference = _read(root / "configs" / "inference.json")

    @classmethod
    def in_app(cls, app_dir: str) -> ServedBundle:
        """Return the bundle of an application.

        Raises:
            FileNotFoundError: there is not exactly one.
        """
        found = sorted(Path(app_dir).glob("model/*/configs/metadata.json"))
        if len(found) != 1:
            raise FileNotFoundError(
                f"{app_dir}/model: {len(found)} bundles, expected one. Export the app again."
            )
        return cls(found[0].parents[1])

    @property
    def suffixes(self) -> list[str]:
        """Endings of the files that it takes for cases, in lower case, with the dot."""
        known = [str(suffix) for suffix in self._inference["suffixes"]]
        dicom = (self.root / "scripts" / "data_dicom").is_dir()
        return [*known, ".dcm", ".dicom"] if dicom else known

    @property
    def judges(self) -> bool:
        """Whether it says how far a case lies, and may abstain."""
        return "abstention" in self._inference

    @property
    def not_trainable(self) -> str:
        """Why it cannot be fine-tuned in MONAI Label; empty if it can."""
        if (self.root / "configs" / "train.json").is_file():
            return "" if self.exclusive else _SEVERAL
        reasons: dict[str, str] = self._block.get("left_out") or {}
        return reasons.get("configs/train.json", "it has no train.json")

    def predicted(self, probabilities: list[float]) -> str:
        """Return the most probable class; of several labels those that hold, joined by ``;``."""
        if self.exclusive:
            return max(zip(probabilities, self.classes, strict=True), key=lambda pair: pair[0])[1]
        limits = self._block.get("thresholds") or {}
        pairs = zip(self.classes, probabilities, strict=True)
        return ";".join(name for name, value in pairs if value >= limits.get(name, 0.5))

    def weights(self, name: str) -> Path:
        """Return the file of weights with a bare name, whether it is there or not."""
        return self.root / "models" / Path(name).name

    def is_as_written(self, weights: Path) -> bool:
        """Return whether weights are those that the bundle was written and measured with."""
        lines = (self.root / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        return listed.get(f"models/{weights.name}") == digest_of(weights)


def digest_of(path: Path) -> str:
    """Return the SHA-256 digest of a file."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _digest(path: Path, _time: int, _size: int) -> str:
    """Time and size are there so that a changed file is read again."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
