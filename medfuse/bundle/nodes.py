"""MONAI configuration nodes, and what makes code inside a bundle importable from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medfuse.bundle.request import BundleRequest

# Compiled code beside the scripts would be run and is named by no digest, so none is written.
BUNDLE_CODE = (
    "$(setattr(sys, 'dont_write_bytecode', True), "
    "sys.path.insert(0, os.path.abspath(@bundle_root)) "
    "if os.path.abspath(@bundle_root) not in sys.path else None)"
)
REQUIRE_IMAGES = "scripts.bundle_required_images.require_images"
IMAGE_LIST = "scripts.bundle_image_list"
VOLUME_LIST = "scripts.bundle_volume_list"
CASE_TABLE = "scripts.bundle_case_table"
CASE_INPUTS = "scripts.bundle_case_inputs"
CASE_WRITER = "scripts.bundle_case_writer.CasePredictionWriter"
PREDICTION_WRITER = "scripts.bundle_prediction_writer.PredictionWriter"
DROP_SPATIAL_SHAPE = "scripts.bundle_spatial_shape.DropSpatialShaped"
EVALUATION_WRITER = "scripts.bundle_evaluation_writer.EvaluationWriter"
CLASS_LABEL = "scripts.bundle_class_label.ClassLabeld"
LABEL_TABLE = "scripts.bundle_label_table"
LABEL_ANSWERS = "scripts.bundle_label_answers.LabelAnswersd"
LABEL_LOSS = "scripts.training_label_loss"
LABEL_METRIC = "scripts.bundle_label_metric.LabelMetric"
LABEL_WRITER = "scripts.bundle_label_writer.LabelWriter"
ABSTENTION = "scripts.evaluation_abstention.Abstention"
FEATURE_INFERER = "scripts.bundle_feature_inferer.FeatureInferer"
ONE_INPUT = "scripts.bundle_one_input.OneInputNetwork"
_FUSED = "scripts.model.FusedNetwork"

_OWN_MODULES = (
    "medfuse.bundle.prediction_writer",
    "medfuse.bundle.required_images",
    "medfuse.bundle.spatial_shape",
)
_DICOM = "medfuse.data.dicom"
_LIST_MODULES = ("medfuse.bundle.image_list", _DICOM, "medfuse.data.dicom_tree")
_JUDGING_MODULES = (
    "medfuse.bundle.feature_inferer",
    "medfuse.evaluation.abstention",
    "medfuse.evaluation.feature_distance",
)
_CLASS_MODULES = ("medfuse.bundle.class_label", "medfuse.bundle.evaluation_writer")
_LABEL_MODULES = (
    "medfuse.bundle.label_answers",
    "medfuse.bundle.label_metric",
    "medfuse.bundle.label_table",
    "medfuse.bundle.label_writer",
    "medfuse.training.label_loss",
)
_TABLE_MODULES = (
    "medfuse.bundle.case_inputs",
    "medfuse.bundle.case_table",
    "medfuse.bundle.case_writer",
    "medfuse.data.cells",
)


def own_modules(request: BundleRequest) -> tuple[str, ...]:
    """Return the modules that the bundle's own nodes name, beside those of its parts."""
    modules = [*_OWN_MODULES]
    if request.from_table:
        modules += _TABLE_MODULES
    else:
        volume = request.inputs[0].kind == "volume"
        modules += [*_LIST_MODULES, *(["medfuse.bundle.volume_list"] if volume else [])]
    if (network_node(request) or {}).get("_target_") == ONE_INPUT:
        modules.append("medfuse.bundle.one_input")
    if request.abstention is not None:
        modules += _JUDGING_MODULES
    if not why_not_trainable(request):
        modules += _LABEL_MODULES if request.link == "sigmoid" else _CLASS_MODULES
    return tuple(modules)


def why_not_trainable(request: BundleRequest) -> str:
    """Return why there is no ``train.json``; empty if there is one."""
    if request.network_node is None:
        return "the network exists only as a graph: " + "; ".join(request.graph_only)
    if request.from_table:
        return "class folders cannot hold cases of a table"
    if request.link == "sigmoid" and "image" in request.classes:
        return "a label is called image, as the column of the images in its table"
    return ""


def reads_dicom(request: BundleRequest) -> bool:
    """Return whether an input of the bundle may be DICOM."""
    return _DICOM in (*own_modules(request), *request.vendored)


def network_node(request: BundleRequest) -> dict[str, Any] | None:
    """Return the node that rebuilds the network: of one input, one that MONAI can export."""
    node = request.network_node
    if node is None or len(request.inputs) > 1 or node.get("_target_") != _FUSED:
        return None if node is None else dict(node)
    parts = {key: value for key, value in node.items() if key not in ("_target_", "inputs")}
    return {"_target_": ONE_INPUT, **parts, "shape": list(request.inputs[0].shape)}


def with_code(node: Any) -> Any:
    """Return plain data with ``_requires_: "@bundle_code"`` in every node from ``scripts``.

    MONAI puts the bundle on ``sys.path`` only inside ``run``; the reference makes every other
    command (verify, export, MONAI Label) find the code too, from any working directory.
    """
    if isinstance(node, Mapping):
        plain = {str(key): with_code(value) for key, value in node.items()}
        if str(plain.get("_target_", "")).startswith("scripts."):
            plain["_requires_"] = "@bundle_code"
        return plain
    if isinstance(node, list | tuple):
        return [with_code(item) for item in node]
    return node


def compose(nodes: list[Any]) -> dict[str, Any]:
    """Return a ``Compose`` node over ``nodes``."""
    return {"_target_": "Compose", "transforms": with_code(nodes)}


def loader(dataset: str, batch_size: str, **options: Any) -> dict[str, Any]:
    """Return a ``DataLoader`` node in the main process."""
    return {
        "_target_": "DataLoader",
        "dataset": dataset,
        "batch_size": batch_size,
        "num_workers": 0,
        **options,
    }
