"""``inference.json`` and ``inference_ts.json``; their names and ids are MONAI's contract."""

from __future__ import annotations

from typing import Any

from medfuse.bundle.case_table import inputs_text
from medfuse.bundle.nodes import (
    ABSTENTION,
    BUNDLE_CODE,
    CASE_INPUTS,
    CASE_TABLE,
    CASE_WRITER,
    DROP_SPATIAL_SHAPE,
    FEATURE_INFERER,
    IMAGE_LIST,
    PREDICTION_WRITER,
    REQUIRE_IMAGES,
    VOLUME_LIST,
    compose,
    loader,
    network_node,
    with_code,
)
from medfuse.bundle.request import BundleRequest, InputSpec
from medfuse.evaluation.feature_distance import DISTANCES

# Never `_disabled_` here: without weights inference must fail, not guess.
WEIGHTS = {
    "_target_": "CheckpointLoader",
    "load_path": "@ckpt_path",
    "load_dict": {"model": "@network"},
    "map_location": "@device",
    "strict": True,
}
_TRACED = "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)"


def inference_config(request: BundleRequest) -> dict[str, Any]:
    """Return the configuration that turns a folder of images into a table of probabilities."""
    return {
        **shared(request),
        "output_dir": "$@bundle_root + '/eval'",
        "batch_size": 1 if has_volume(request) else 8,
        "datalist": _datalist(request),
        "preprocessing": compose(preprocessing(request)),
        "dataset": {
            "_target_": "Dataset",
            "data": (
                "@datalist" if request.from_table else "$[{'image': name} for name in @datalist]"
            ),
            "transform": "@preprocessing",
        },
        "dataloader": loader("@dataset", "@batch_size", shuffle=False),
        **judging(request),
        "postprocessing": _postprocessing(request),
        "handlers": _handlers(request),
        "evaluator": evaluator(request),
        "check_data": with_code(
            {
                "_target_": REQUIRE_IMAGES,
                "images": "@datalist",
                "folder": "@dataset_dir",
            }
        ),
        "initialize": ["$@check_data"],
        "run": ["$@evaluator.run()"],
        "finalize": [],
    }


def judging(request: BundleRequest) -> dict[str, Any]:
    """Return the inferer, and the policy that reads what it keeps."""
    if request.abstention is None:
        return {"inferer": {"_target_": "SimpleInferer"}}
    policy = request.abstention.node(f"$@bundle_root + '/models/{DISTANCES}'")
    return {
        "inferer": with_code({"_target_": FEATURE_INFERER}),
        "abstention": with_code({"_target_": ABSTENTION, **policy, "class_names": "@class_names"}),
    }


def inference_ts_config() -> dict[str, Any]:
    """Return the override that takes the traced network, for use without the network's code."""
    return {"network_def": _TRACED, "handlers::0::_disabled_": True}


def shared(request: BundleRequest) -> dict[str, Any]:
    """Return what inference and training have in common: code, device, weights, network."""
    node = network_node(request)
    listing: dict[str, Any] = {"suffixes": list(request.endings)}
    if request.from_table:
        columns = {key: _columns(spec) for key, spec in request.keyed.items()}
        listing = {"case_inputs": inputs_text(columns)}
    return {
        "imports": ["$import os", "$import sys"],
        "bundle_root": ".",
        "bundle_code": BUNDLE_CODE,
        "class_names": list(request.classes),
        **listing,
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "dataset_dir": "$@bundle_root + '/data'",
        "network_def": _TRACED if node is None else with_code(node),
        "network": "$@network_def.to(@device)",
    }


def preprocessing(request: BundleRequest) -> list[Any]:
    """Return the nodes that take references to what the network sees.

    Where a case comes from a table, those of each input are kept together as they are: they know
    their input as ``image``, and run only where it is there.
    """
    if not request.from_table:
        return list(request.preprocessing_nodes[request.inputs[0].name])
    each = [
        {
            "_target_": f"{CASE_INPUTS}.OneInputd",
            "keys": key,
            "transforms": list(request.preprocessing_nodes[spec.name]),
            "allow_missing_keys": True,
        }
        for key, spec in request.keyed.items()
    ]
    shapes = {key: list(spec.shape) for key, spec in request.keyed.items()}
    needed = {"all_needed": True} if request.all_inputs_needed else {}
    return [*each, {"_target_": f"{CASE_INPUTS}.CompleteCased", "shapes": shapes, **needed}]


def evaluator(request: BundleRequest) -> dict[str, Any]:
    """Return the engine that goes through the cases."""
    node = {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
        "val_handlers": "@handlers",
    }
    if request.from_table:
        names = {"_target_": f"{CASE_INPUTS}.PrepareInputs", "names": list(request.keyed)}
        node["prepare_batch"] = with_code(names)
    return node


def writer(request: BundleRequest) -> dict[str, Any]:
    """Return the handler that writes a row for each case."""
    node: dict[str, Any] = {
        "_target_": CASE_WRITER if request.from_table else PREDICTION_WRITER,
        "output_dir": "@output_dir",
        "dataset_dir": "@dataset_dir",
        "class_names": "@class_names",
        "exclusive": request.link == "softmax",
    }
    if request.thresholds:
        node["thresholds"] = list(request.thresholds)
    if request.abstention is not None:
        node |= {"abstention": "@abstention", "inferer": "@inferer"}
    return node


def has_volume(request: BundleRequest) -> bool:
    """Return whether an input is a volume; then few cases fit into memory at once."""
    return any(spec.kind == "volume" for spec in request.inputs)


def _datalist(request: BundleRequest) -> Any:
    node = {"_target_": f"{IMAGE_LIST}.list_images", "folder": "@dataset_dir"}
    if request.from_table:
        node |= {"_target_": f"{CASE_TABLE}.list_cases", "inputs": "@case_inputs"}
    else:
        node |= {"suffixes": "@suffixes", "modality": request.inputs[0].modality}
        if has_volume(request):
            node["_target_"] = f"{VOLUME_LIST}.list_volumes"
    return with_code(node)


def _columns(spec: InputSpec) -> list[str] | None:
    """Return the columns of a table row; a file has one of the input's own name."""
    return list(spec.columns) if spec.kind == "tabular" else None


def _postprocessing(request: BundleRequest) -> dict[str, Any]:
    return compose(
        [
            {"_target_": "Activationsd", "keys": "pred", request.link: True},
            {"_target_": DROP_SPATIAL_SHAPE, "keys": "image", "allow_missing_keys": True},
        ]
    )


def _handlers(request: BundleRequest) -> list[dict[str, Any]]:
    rows = writer(request)
    return list(with_code([rows] if request.network_node is None else [WEIGHTS, rows]))
