"""``train.json``: fine-tune the bundle on further labelled images, with the ids of MONAI Label."""

from __future__ import annotations

from typing import Any

from medfuse.bundle.inference_config import has_volume, preprocessing, shared
from medfuse.bundle.nodes import CLASS_LABEL, IMAGE_LIST, VOLUME_LIST, compose, loader, with_code
from medfuse.bundle.request import BundleRequest

CANDIDATE = "model_candidate.pt"
_LABEL = {"_target_": CLASS_LABEL, "keys": "label", "class_names": "@class_names"}


def train_config(request: BundleRequest) -> dict[str, Any]:
    """Return the configuration that fine-tunes on ``dataset_dir/train|val/<class>/``.

    It starts from ``model.pt`` and writes ``model_candidate.pt``: the served weights change only
    when somebody decides so.
    """
    return {
        **shared(request),
        "ckpt_dir": "$@bundle_root + '/models'",
        "seed": 0,
        "batch_size": batch_size(request),
        "learning_rate": 1e-4,
        "val_interval": 1,
        "train_list": labelled(request, "$os.path.join(@dataset_dir, 'train')"),
        "val_list": labelled(request, "$os.path.join(@dataset_dir, 'val')"),
        "loss": {"_target_": "torch.nn.CrossEntropyLoss"},
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "params": "$[p for p in @network.parameters() if p.requires_grad]",
            "lr": "@learning_rate",
        },
        "train": _train(request),
        "validate": _validate(request),
        "initialize": [
            "$monai.utils.set_determinism(seed=@seed)",
            "$@network.load_state_dict("
            "torch.load(@ckpt_path, map_location=@device, weights_only=True), strict=True)",
        ],
        "run": ["$@train::trainer.run()"],
        "finalize": [],
    }


def batch_size(request: BundleRequest) -> int:
    """Return how many labelled images go through the network at once."""
    return 2 if has_volume(request) else 16


def labelled(request: BundleRequest, folder: str) -> Any:
    """Return the node that lists the labelled images of a folder."""
    images = f"{IMAGE_LIST}.list_labelled_images"
    return with_code(
        {
            "_target_": (f"{VOLUME_LIST}.list_labelled_volumes" if has_volume(request) else images),
            "folder": folder,
            "class_names": "@class_names",
            "suffixes": "@suffixes",
            "modality": request.inputs[0].modality,
        }
    )


def answers(answer: str, truth: str) -> str:
    """Return what makes ``(N, K)`` and ``(N,)`` of two keys of the output, each one of K."""
    return (
        f"$lambda items: (torch.stack([item['{answer}'] for item in items]), "
        f"torch.stack([item['{truth}'].argmax() for item in items]))"
    )


def accuracy(answer: str, truth: str) -> dict[str, Any]:
    """Return the share of right answers between two keys of the output."""
    return {
        "_target_": "ignite.metrics.Accuracy",
        "output_transform": answers(answer, truth),
    }


def _train(request: BundleRequest) -> dict[str, Any]:
    return {
        "preprocessing": compose([_LABEL, *preprocessing(request), *_augmentation(request)]),
        "dataset": _dataset("train", "@train_list"),
        "dataloader": loader(
            "@train::dataset",
            "@batch_size",
            shuffle=True,
            # batch normalization cannot train on a last batch of one image
            drop_last="$len(@train::dataset) > 1 and len(@train::dataset) % @batch_size == 1",
        ),
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": _one_hot(),
        "key_metric": {"train_accuracy": accuracy("pred", "label")},
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


def _validate(request: BundleRequest) -> dict[str, Any]:
    return {
        "preprocessing": compose([_LABEL, *preprocessing(request)]),
        "dataset": _dataset("validate", "@val_list"),
        "dataloader": loader("@validate::dataset", "@batch_size", shuffle=False),
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": _one_hot(),
        "key_metric": {"val_accuracy": accuracy("pred", "label")},
        "handlers": [
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "CheckpointSaver",
                "save_dir": "@ckpt_dir",
                "save_dict": {"model": "@network"},
                "save_key_metric": True,
                "key_metric_filename": CANDIDATE,
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
            "val_handlers": "@validate::handlers",
        },
    }


def _augmentation(request: BundleRequest) -> list[Any]:
    return list(request.augmentation_nodes.get(request.inputs[0].name, ()))


def _dataset(part: str, data: str) -> dict[str, Any]:
    return {"_target_": "Dataset", "data": data, "transform": f"@{part}::preprocessing"}


def _one_hot() -> dict[str, Any]:
    return compose(
        [
            {
                "_target_": "AsDiscreted",
                "keys": ["pred", "label"],
                "argmax": [True, False],
                "to_onehot": "$len(@class_names)",
            }
        ]
    )
