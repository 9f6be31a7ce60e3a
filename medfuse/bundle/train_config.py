"""``train.json``: fine-tune the bundle on further labelled images, with the ids of MONAI Label."""

from __future__ import annotations

from typing import Any

from medfuse.bundle.answer_nodes import AnswerNodes
from medfuse.bundle.class_nodes import of_classes
from medfuse.bundle.inference_config import has_volume, preprocessing, shared
from medfuse.bundle.label_nodes import of_labels
from medfuse.bundle.nodes import compose, loader, with_code
from medfuse.bundle.request import BundleRequest

CANDIDATE = "model_candidate.pt"


def train_config(request: BundleRequest) -> dict[str, Any]:
    """Return the configuration that fine-tunes on ``dataset_dir/train`` and ``dataset_dir/val``.

    These hold a folder for each class, or ``labels.csv``, always the latter of several labels.
    It starts from ``model.pt`` and writes ``model_candidate.pt``: the served weights change only
    when somebody decides so.
    """
    nodes = answer_nodes(request)
    return {
        **shared(request),
        "ckpt_dir": "$@bundle_root + '/models'",
        "seed": 0,
        "batch_size": batch_size(request),
        "learning_rate": 1e-4,
        "val_interval": 1,
        "train_list": labelled(request, "$os.path.join(@dataset_dir, 'train')"),
        "val_list": labelled(request, "$os.path.join(@dataset_dir, 'val')"),
        **with_code(nodes.loss),
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "params": "$[p for p in @network.parameters() if p.requires_grad]",
            "lr": "@learning_rate",
        },
        "train": _train(request, nodes),
        "validate": _validate(request, nodes),
        "initialize": [
            "$monai.utils.set_determinism(seed=@seed)",
            "$@network.load_state_dict("
            "torch.load(@ckpt_path, map_location=@device, weights_only=True), strict=True)",
        ],
        "run": [*nodes.first, "$@train::trainer.run()"],
        "finalize": [],
    }


def batch_size(request: BundleRequest) -> int:
    """Return how many labelled images go through the network at once."""
    return 2 if has_volume(request) else 16


def answer_nodes(request: BundleRequest) -> AnswerNodes:
    """Return the nodes that depend on what is known of a case: its class, or several labels."""
    return of_labels(request) if request.link == "sigmoid" else of_classes(request)


def labelled(request: BundleRequest, folder: str) -> Any:
    """Return the node that lists the labelled images of a folder."""
    listing = dict(answer_nodes(request).listing)
    return with_code({"_target_": listing.pop("_target_"), "folder": folder, **listing})


def _train(request: BundleRequest, nodes: AnswerNodes) -> dict[str, Any]:
    return {
        "preprocessing": compose([nodes.reader, *preprocessing(request), *_augmentation(request)]),
        "dataset": _dataset("train", "@train_list"),
        "dataloader": loader(
            "@train::dataset",
            "@batch_size",
            shuffle=True,
            # batch normalization cannot train on a last batch of one image
            drop_last="$len(@train::dataset) > 1 and len(@train::dataset) % @batch_size == 1",
        ),
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": compose([*nodes.learned]),
        "key_metric": with_code(nodes.train_metric),
        "handlers": [
            {
                "_target_": "ValidationHandler",
                "validator": "@validate::evaluator",
                "epoch_level": True,
                "interval": "@val_interval",
            },
            {
                "_target_": "StatsHandler",
                "tag_name": "train_loss",
                "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
            },
        ],
        "trainer": {
            "_target_": "SupervisedTrainer",
            "max_epochs": 10,
            "device": "@device",
            "train_data_loader": "@train::dataloader",
            "network": "@network",
            "loss_function": "@loss",
            "optimizer": "@optimizer",
            "inferer": "@train::inferer",
            "postprocessing": "@train::postprocessing",
            "key_train_metric": "@train::key_metric",
            "train_handlers": "@train::handlers",
        },
    }


def _validate(request: BundleRequest, nodes: AnswerNodes) -> dict[str, Any]:
    return {
        "preprocessing": compose([nodes.reader, *preprocessing(request)]),
        "dataset": _dataset("validate", "@val_list"),
        "dataloader": loader("@validate::dataset", "@batch_size", shuffle=False),
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": compose([*nodes.learned]),
        "key_metric": with_code(nodes.val_metric),
        **({"additional_metrics": with_code(nodes.further)} if nodes.further else {}),
        "handlers": [
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "CheckpointSaver",
                "save_dir": "@ckpt_dir",
                "save_dict": {"model": "@network"},
                "save_key_metric": True,
                "key_metric_filename": CANDIDATE,
                **nodes.saver,
            },
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@validate::dataloader",
            "network": "@network",
            "inferer": "@validate::inferer",
            "postprocessing": "@validate::postprocessing",
            "key_val_metric": "@validate::key_metric",
            **({"additional_metrics": "@validate::additional_metrics"} if nodes.further else {}),
            **nodes.evaluator,
            "val_handlers": "@validate::handlers",
        },
    }


def _augmentation(request: BundleRequest) -> list[Any]:
    return list(request.augmentation_nodes.get(request.inputs[0].name, ()))


def _dataset(part: str, data: str) -> dict[str, Any]:
    return {"_target_": "Dataset", "data": data, "transform": f"@{part}::preprocessing"}
