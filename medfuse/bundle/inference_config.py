"""``inference.json`` and ``inference_ts.json``; their names and ids are MONAI's contract."""

from __future__ import annotations

from typing import Any

from medfuse.bundle.nodes import (
    BUNDLE_CODE,
    DROP_SPATIAL_SHAPE,
    IMAGE_LIST,
    PREDICTION_WRITER,
    compose,
    loader,
    with_code,
)
from medfuse.bundle.request import BundleRequest

_TRACED = "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)"


def inference_config(request: BundleRequest) -> dict[str, Any]:
    """Return the configuration that turns a folder of images into a table of probabilities."""
    return {
        **shared(request),
        "output_dir": "$@bundle_root + '/eval'",
        "batch_size": 8,
        "datalist": with_code(
            {
                "_target_": f"{IMAGE_LIST}.list_images",
                "folder": "@dataset_dir",
                "suffixes": "@suffixes",
            }
        ),
        "preprocessing": compose(preprocessing(request)),
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': name} for name in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": loader("@dataset", "@batch_size", shuffle=False),
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": _postprocessing(request),
        "handlers": _handlers(request),
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "check_data": with_code(
            {
                "_target_": f"{IMAGE_LIST}.require_images",
                "images": "@datalist",
                "folder": "@dataset_dir",
            }
        ),
        "initialize": ["$@check_data"],
        "run": ["$@evaluator.run()"],
        "finalize": [],
    }


def inference_ts_config() -> dict[str, Any]:
    """Return the override that takes the traced network, for use without the network's code."""
    return {"network_def": _TRACED, "handlers::0::_disabled_": True}


def shared(request: BundleRequest) -> dict[str, Any]:
    """Return what inference and training have in common: code, device, weights, network."""
    node = request.network_node
    return {
        "imports": ["$import os", "$import sys"],
        "bundle_root": ".",
        "bundle_code": BUNDLE_CODE,
        "class_names": list(request.classes),
        "suffixes": list(request.endings),
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "dataset_dir": "$@bundle_root + '/data'",
        "network_def": _TRACED if node is None else with_code(node),
        "network": "$@network_def.to(@device)",
    }


def preprocessing(request: BundleRequest) -> list[Any]:
    """Return the nodes that take a reference to the network's input."""
    return list(request.preprocessing_nodes[request.inputs[0].name])


def _postprocessing(request: BundleRequest) -> dict[str, Any]:
    return compose(
        [
            {"_target_": "Activationsd", "keys": "pred", request.link: True},
            {"_target_": DROP_SPATIAL_SHAPE, "keys": "image", "allow_missing_keys": True},
        ]
    )


def _handlers(request: BundleRequest) -> list[dict[str, Any]]:
    """The loader is never ``_disabled_`` here: without weights inference must fail, not guess."""
    weights = {
        "_target_": "CheckpointLoader",
        "load_path": "@ckpt_path",
        "load_dict": {"model": "@network"},
        "map_location": "@device",
        "strict": True,
    }
    writer = {
        "_target_": PREDICTION_WRITER,
        "output_dir": "@output_dir",
        "dataset_dir": "@dataset_dir",
        "class_names": "@class_names",
        "exclusive": request.link == "softmax",
    }
    return list(with_code([writer] if request.network_node is None else [weights, writer]))
