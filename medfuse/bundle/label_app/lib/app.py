"""The application: one bundle, one folder of studies."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from .infer import ClassificationInfer
from .labels import LabelError, read_label
from .refusals import FORBIDDEN, NOT_FOUND, UNUSABLE, refusal
from .served_bundle import ServedBundle
from .studies import Studies
from .train import ClassificationTrain

logger = logging.getLogger(__name__)


class BundleApp(MONAILabelApp):
    """Serves the bundle in ``model/`` and fine-tunes it to a candidate."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.bundle = ServedBundle.in_app(app_dir)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name=self.bundle.name,
            description=self.bundle.description,
            version=self.bundle.version,
            labels=self.bundle.classes,
        )

    def init_datastore(self) -> Studies:
        """Return the folder of studies.

        Raises:
            ValueError: studies lie elsewhere: MONAI Label converts what it gets over DICOMweb to
                NIfTI by a reader of its own, past the checks that the bundle was trained with.
        """
        if "://" in self.studies:
            raise ValueError("--studies is an address, expected a folder: this app reads files.")
        return Studies(
            self.studies,
            self.bundle.suffixes,
            volumes=self.bundle.volume,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def init_infers(self) -> dict[str, Any]:
        """Return the bundle's model by the name of its folder."""
        return {self.bundle.name: ClassificationInfer(self.bundle, self.conf)}

    def init_trainers(self) -> dict[str, Any]:
        """Return its training; none where it cannot be trained here."""
        if self.bundle.not_trainable:
            logger.warning("%s: no training: %s", self.bundle.name, self.bundle.not_trainable)
            return {}
        reports = Path(self.app_dir) / "training"
        return {self.bundle.name: ClassificationTrain(self.bundle, self.conf, reports)}

    def init_strategies(self) -> dict[str, Any]:
        """Return how the next image to label is chosen."""
        return {"random": Random(), "first": First()}

    def infer(self, request: Any, datastore: Any = None) -> Any:
        """Return the answer to one image.

        Raises:
            HTTPException: 404 of an unknown model, image or file of weights; 422 of an image that
                the bundle refuses.
        """
        self._require_model(request)
        image = request.get("image")
        if isinstance(image, str):
            # a file or folder is what was uploaded with the request
            found = self.datastore().path_of(image) or (image if os.path.exists(image) else "")  # noqa: PTH110
            if not found:
                raise refusal(NOT_FOUND, "UNKNOWN_IMAGE", f"there is no image {image[:80]!r} here.")
            request = {**request, "image": found}
        return super().infer(request, datastore)

    def batch_infer(self, request: Any, datastore: Any = None) -> Any:
        """Return the answers to many images; one that is refused stops none of the others."""
        several = torch.cuda.is_available() and bool(request.get("multi_gpu", True))
        asked = {**request, "multi_gpu": several}
        return self._batch_infer(asked, datastore or self.datastore(), self._answer_or_refusal)

    def train(self, request: Any) -> Any:
        """Return what the training told.

        Raises:
            HTTPException: 404 of an unknown model; 422 of labels that cannot be trained on.
        """
        self._require_model(request)
        if self.bundle.not_trainable:
            raise refusal(UNUSABLE, "NOT_TRAINABLE", f"{self.bundle.not_trainable}.")
        return super().train(request)

    def on_save_label(self, image_id: str, label_id: str) -> None:
        """Take back a label that names no class, so that training does not find it later.

        Raises:
            HTTPException: 422 of such a label.
        """
        for tag in self.datastore().get_labels_by_image_id(image_id):
            self._require_class(label_id, tag)

    def model_file(self, model: str, validate: bool = True) -> str:  # noqa: ARG002
        """Refuse: MONAI Label lets anybody replace and delete the file that is told here.

        Raises:
            HTTPException: 403.
        """
        reason = "weights are changed by hand, see README.md of this application."
        raise refusal(FORBIDDEN, "WEIGHTS_ARE_FIXED", reason)

    def _require_class(self, label_id: str, tag: str) -> None:
        store = self.datastore()
        try:
            read_label(store.get_label_uri(label_id, tag), self.bundle.classes)
        except LabelError as error:
            store.remove_label(label_id, tag)
            store.refresh()
            raise refusal(UNUSABLE, "BAD_LABEL", f"{label_id}: {error}") from error

    def _answer_or_refusal(self, request: Any, datastore: Any) -> Any:
        try:
            return self.infer(request, datastore)
        except HTTPException as error:
            return {"params": {"medfuse": error.detail}}

    def _require_model(self, request: Any) -> None:
        if request.get("model") != self.bundle.name:
            text = f"there is no model {str(request.get('model'))[:80]!r}, only {self.bundle.name}."
            raise refusal(NOT_FOUND, "UNKNOWN_MODEL", text)
