"""``multi_gpu_train.json``: what changes in ``train.json`` where several processes train."""

from __future__ import annotations

from typing import Any

_ON_GPU = "torch.cuda.is_available()"
_FIRST = "torch.distributed.get_rank() == 0"
_LAST_OF_ONE = (
    "$len(@train::sampler) > 1 and len(@train::sampler) % @batch_size == 1 "
    "and len(@train::sampler) > @batch_size"
)


def multi_gpu_train_config() -> dict[str, Any]:
    """Return the override for ``torchrun``: each process has a part of the images, and a GPU.

    Without GPUs the processes talk by gloo. Only the first one tells how it goes, and writes the
    candidate.
    """
    ready = "torch.distributed.is_initialized()"
    backend = f"'nccl' if {_ON_GPU} else 'gloo'"
    return {
        "device": f"$torch.device('cuda:' + os.environ['LOCAL_RANK'] if {_ON_GPU} else 'cpu')",
        "network": {
            "_target_": "torch.nn.parallel.DistributedDataParallel",
            "module": "$@network_def.to(@device)",
            "device_ids": f"$[@device] if {_ON_GPU} else None",
        },
        "train::sampler": _sampler("@train::dataset", even_divisible=True, shuffle=True),
        "train::dataloader::sampler": "@train::sampler",
        "train::dataloader::shuffle": False,
        "train::dataloader::drop_last": _LAST_OF_ONE,
        "train::trainer::train_handlers": f"$@train::handlers[: None if {_FIRST} else 1]",
        "validate::sampler": _sampler("@validate::dataset", even_divisible=False, shuffle=False),
        "validate::dataloader::sampler": "@validate::sampler",
        "validate::evaluator::val_handlers": f"$@validate::handlers if {_FIRST} else None",
        "initialize": [
            f"${ready} or torch.distributed.init_process_group({backend})",
            f"$torch.cuda.set_device(@device) if {_ON_GPU} else None",
            # the same network in each process, but images and views of its own
            "$monai.utils.set_determinism(seed=@seed + torch.distributed.get_rank())",
            "$@network_def.load_state_dict("
            "torch.load(@ckpt_path, map_location=@device, weights_only=True), strict=True)",
        ],
        "finalize": [f"${ready} and torch.distributed.destroy_process_group()"],
    }


def _sampler(dataset: str, **options: bool) -> dict[str, Any]:
    return {"_target_": "DistributedSampler", "dataset": dataset, **options}
