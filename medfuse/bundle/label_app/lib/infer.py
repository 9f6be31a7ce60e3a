"""Predictions of the bundle, with its own names, and whether it abstains."""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.bundle import BundleInferTask

from .refusals import NOT_FOUND, image_refusal, refusal
from .served_bundle import GRAPH, ServedBundle

_INFERER = "bundle_inferer"


class ClassificationInfer(BundleInferTask):
    """The bundle's preprocessing, network and postprocessing; nothing is restored to a mask.

    Beside ``prediction``, which every client knows, the answer holds ``medfuse``: what the
    bundle's own writer would say of the case.
    """

    def __init__(self, bundle: ServedBundle, conf: dict[str, str]) -> None:
        self.bundle = bundle
        super().__init__(
            str(bundle.root),
            conf,
            type=InferType.CLASSIFICATION,
            add_post_restore=False,
            load_strict=True,
        )
        self.labels = {name: index for index, name in enumerate(bundle.classes)}

    def __call__(self, request: Any, callbacks: Any = None) -> Any:
        """Return what MONAI Label does; it would answer with other weights if those are absent."""
        name = request.get("model_filename")
        if isinstance(name, str) and not self.bundle.weights(name).is_file():
            raise refusal(NOT_FOUND, "NO_WEIGHTS", f"there are no weights {name[:80]!r} here.")
        return super().__call__(request, callbacks)

    def run_pre_transforms(self, data: Any, transforms: Any) -> Any:
        """Return the canonical image, or refuse what the bundle's reader refuses."""
        try:
            return super().run_pre_transforms(data, transforms)
        except Exception as error:
            raise image_refusal(error, data.get("image")) from error

    def inferer(self, data: Any = None) -> Any:
        """Return the bundle's inferer, one for each request: it keeps features."""
        found = copy.copy(super().inferer(data))
        if data is not None:
            data[_INFERER] = found
        return found

    def writer(self, data: Any, extension: Any = None, dtype: Any = None) -> Any:
        """Return no file, and the answer."""
        file, result = super().writer(data, extension, dtype)
        result["medfuse"] = self._answer(data)
        return file, result

    def _answer(self, data: Any) -> dict[str, Any]:
        chances = torch.as_tensor(data[self.output_label_key]).flatten().tolist()
        weights = _weights_name(data)
        answer = {
            "weights": weights,
            "status": "ok",
            "reason_code": "",
            "reason": "",
            "predicted": self.bundle.predicted(chances),
        }
        if not self.bundle.is_as_written(self.bundle.weights(weights)):
            return answer | _NOT_JUDGED
        if not self.bundle.judges:
            return answer
        return answer | self._judgement(chances, data[_INFERER])

    def _judgement(self, chances: list[float], inferer: Any) -> dict[str, Any]:
        judge = self._built("abstention")
        features, present = inferer.features.numpy(), inferer.present.numpy()
        (found,) = judge.from_features([chances], features, present)
        told = {
            "status": found.status,
            "reason_code": found.reason_code,
            "reason": found.reason,
            "set": list(found.conformal_set),
            "distances": dict(found.distances),
        }
        return told | ({"predicted": ""} if found.status == "abstained" else {})

    def _built(self, name: str) -> Any:
        sys.path.insert(0, self.bundle_path)
        try:
            return self.bundle_config.get_parsed_content(name, instantiate=True)
        finally:
            sys.path.remove(self.bundle_path)


_NOT_JUDGED = {
    "status": "not judged",
    "reason_code": "OTHER_WEIGHTS",
    "reason": "these weights are not those that the bundle was written and measured with",
}


def _weights_name(data: Any) -> str:
    """Return which weights MONAI Label took; it passes a list where nobody chose."""
    names = data.get("model_filename") or [GRAPH]
    return names if isinstance(names, str) else str(names[0])
