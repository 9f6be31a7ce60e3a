"""One case through the bundle, by its own ``inference.json``, as ``monai.bundle run`` does it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai.bundle.workflows import ConfigWorkflow

from .judged_bundle import JudgedBundle
from .outcome import RefusedError


def classify(bundle: JudgedBundle, reference: str) -> dict[str, Any]:
    """Return status, code, class and probabilities, as the bundle's table would have them.

    Raises:
        RefusedError: with the code of the bundle's reader; ``RUN_FAILED`` where no image is to
            blame.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            _run(bundle, reference, folder)
        except Exception as error:  # a bundle is a program: it may raise anything
            raise _refused(error, reference) from error
        (row,) = json.loads((Path(folder) / "predictions.json").read_text("utf-8"))
    said = {"status": "ok", "reason_code": "", "reason": ""}
    return {**said, **{name: value for name, value in row.items() if name != "image"}}


def _run(bundle: JudgedBundle, reference: str, folder: str) -> None:
    workflow = ConfigWorkflow(
        config_file=str(bundle.root / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(bundle.root),
        dataset_dir=str(Path(reference.partition("::")[0]).parent),
        output_dir=folder,
        datalist=[reference],
        batch_size=1,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def _refused(error: BaseException, reference: str) -> RefusedError:
    """Return the first cause with a code; MONAI nests it below reports of its own."""
    for cause in _causes(error):
        code = getattr(cause, "code", None)
        if isinstance(code, str) and code:
            text = (str(cause).strip().splitlines() or [code])[0]
            for path in (reference, reference.partition("::")[0]):
                text = text.replace(path, "the case")
            return RefusedError(code, text[:300])
    return RefusedError("RUN_FAILED", f"the bundle ended with {type(error).__name__}", "failed")


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
