"""Load a bundle once, then predict as often as needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfuse.bundle.digests import check_digests
from medfuse.bundle.metadata import FORMAT
from medfuse.bundle.runtime import load_network, open_bundle
from medfuse.device import find_device
from medfuse.errors import BundleError, MedfuseError
from medfuse.serving.inputs import require_bundle
from medfuse.serving.prediction import Prediction
from medfuse.serving.refusal import Refusal, refusal_of

ImageInput = str | Path | NDArray[Any]


@dataclass(frozen=True)
class _Parts:
    """What was built from the bundle; see its ``inference.json``."""

    network: torch.nn.Module
    device: torch.device
    preprocessing: Any
    inferer: Any
    postprocessing: Any


class Predictor:
    """Predictions of one bundle; made by `load_bundle`.

    Attributes:
        metadata: the bundle's ``metadata.json``.
        classes: in the order of the probabilities.
        suffixes: endings of the files the bundle takes for images.
    """

    def __init__(self, parts: _Parts, metadata: dict[str, Any], suffixes: Sequence[str]) -> None:
        self._parts = parts
        self.metadata = metadata
        formats = metadata["network_data_format"]
        image = formats["inputs"]["image"]
        self._shape = (image["num_channels"], *image["spatial_shape"])
        self.classes: tuple[str, ...] = tuple(formats["outputs"]["pred"]["channel_def"].values())
        self.suffixes = tuple(suffixes)
        self._exclusive = metadata["medfuse"]["link"] == "softmax"

    def predict(self, images: Sequence[ImageInput], batch_size: int = 8) -> list[Prediction]:
        """Return one prediction per image, in the same order; a bad image is refused, not guessed.

        Args:
            images: paths (or ``FILE.npz::KEY::INDEX``), or arrays of stored samples ``(H, W)`` or
                ``(H, W, 3)`` as an ``.npy`` file would hold them. Arrays are named ``array-0``.
            batch_size: images that go through the network at once.

        Raises:
            BundleError: the network itself failed.
        """
        found: list[Prediction] = []
        with tempfile.TemporaryDirectory(prefix="medfuse-predict-") as folder:
            for start in range(0, len(images), batch_size):
                chunk = enumerate(images[start : start + batch_size], start=start)
                found += self._predict_batch([_named(n, image, folder) for n, image in chunk])
        return found

    def _predict_batch(self, references: list[tuple[str, str]]) -> list[Prediction]:
        answers: dict[int, Prediction] = {}
        canonical: dict[int, Tensor] = {}
        for index, (case, reference) in enumerate(references):
            image = self._canonical(reference)
            if isinstance(image, Refusal):
                text = str(image).replace(reference, case)
                answers[index] = _refused(case, Refusal(image.code, text))
            else:
                canonical[index] = image
        for index, values in zip(canonical, self._probabilities(canonical), strict=True):
            answers[index] = self._answer(references[index][0], values)
        return [answers[index] for index in range(len(references))]

    def _canonical(self, reference: str) -> Tensor | Refusal:
        try:
            image: Tensor = self._parts.preprocessing({"image": reference})["image"]
        except Exception as error:  # noqa: BLE001 - decoders raise anything; it becomes the answer
            return refusal_of(error)
        if tuple(image.shape) != self._shape:
            return Refusal(
                "WRONG_SHAPE", f"canonical image {tuple(image.shape)}, not {self._shape}"
            )
        if not bool(torch.isfinite(torch.as_tensor(image)).all()):
            return Refusal("NON_FINITE", "the canonical image holds values that are not finite")
        return image

    def _probabilities(self, canonical: dict[int, Tensor]) -> Iterator[list[float]]:
        if not canonical:
            return
        parts = self._parts
        images = list(canonical.values())
        batch = torch.stack([torch.as_tensor(image).as_subclass(Tensor) for image in images])
        try:
            with torch.inference_mode():
                logits = parts.inferer(batch.to(parts.device), parts.network)
        except (RuntimeError, ValueError, TypeError) as error:
            raise BundleError(f"the bundle's network failed ({error}).") from error
        for image, row in zip(images, logits, strict=True):
            items = parts.postprocessing({"image": image, "pred": row.cpu().clone()})
            yield torch.as_tensor(items["pred"]).flatten().tolist()

    def _answer(self, case: str, values: list[float]) -> Prediction:
        if not np.isfinite(values).all():
            return _refused(case, Refusal("NON_FINITE_OUTPUT", "the network gave no finite value"))
        named = dict(zip(self.classes, values, strict=True))
        if self._exclusive:
            predicted = max(named, key=named.__getitem__)
        else:
            predicted = ";".join(name for name, value in named.items() if value >= 0.5)
        return Prediction(case=case, status="ok", predicted=predicted, probabilities=named)


def load_bundle(path: Path | str, device: str = "auto") -> Predictor:
    """Return a predictor that runs the bundle's own preprocessing, network and postprocessing.

    The configurations and scripts of a bundle are code, and are executed: load only bundles from
    somebody you trust. Digests are checked first; they show damage, not forgery.

    Args:
        path: the bundle's folder.
        device: ``auto``, ``cpu``, ``cuda:0`` ...

    Raises:
        BundleError: the folder is no whole bundle of medfuse, or cannot be built.
        ConfigError: the device does not exist here.
    """
    root = Path(path)
    require_bundle(root)
    check_digests(root)
    chosen = find_device(device)
    try:
        with open_bundle(root) as parser:
            parser["device"] = chosen
            metadata = parser["_meta_"]
            _check_format(metadata, root)
            parts = _Parts(
                load_network(parser, root, chosen),
                chosen,
                parser.get_parsed_content("preprocessing"),
                parser.get_parsed_content("inferer"),
                parser.get_parsed_content("postprocessing"),
            )
            return Predictor(parts, metadata, parser["suffixes"])
    except MedfuseError:
        raise
    except Exception as error:  # configurations are programs: they may raise anything
        cause = refusal_of(error)
        raise BundleError(f"{root}: cannot be built ({cause}).") from error


def _check_format(metadata: dict[str, Any], root: Path) -> None:
    found = metadata.get("medfuse", {}).get("format")
    if found != FORMAT:
        raise BundleError(
            f"{root}: bundle format {found}, expected {FORMAT}. "
            "Use the medfuse version that wrote it, or write it anew."
        )


def _named(number: int, image: ImageInput, folder: str) -> tuple[str, str]:
    """Return name and reference; an array takes the same way through the reader as a file."""
    if not isinstance(image, np.ndarray):
        return str(image), str(image)
    case = f"array-{number}"
    path = Path(folder) / f"{case}.npy"
    np.save(path, image, allow_pickle=False)
    return case, str(path)


def _refused(case: str, refusal: Refusal) -> Prediction:
    return Prediction(case=case, status="refused", reason_code=refusal.code, reason=str(refusal))
