"""Train AutoGluon MultiModal from a file with timm's weights of MobileNetV2-0.35.

    .venvs/autogluon/bin/python benchmarks/autogluon_script.py FOLDER --epochs 2 --out DIR

FOLDER has ``train``, ``validation`` and ``test``, each a folder of a class each. Runs in an
environment of its own, started by `benchmarks/autogluon_loop.py`, which reads the JSON printed
last. AutoGluon takes one network, and trains all of it: it has no way to hold it frozen.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

NETWORK = "mobilenetv2_035"
WEIGHTS = f"{NETWORK}.keras_in1k.safetensors"


def main() -> None:
    """Print seconds and test accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    arguments = parser.parse_args()
    import torch
    from autogluon.multimodal import MultiModalPredictor

    tables = {part: table(arguments.folder / part) for part in ("train", "validation", "test")}
    predictor = MultiModalPredictor(label="label", path=str(arguments.out / "model"), verbosity=1)
    start = time.perf_counter()
    torch.set_num_threads(os.cpu_count() or 1)
    predictor.fit(
        tables["train"],
        tuning_data=tables["validation"],
        hyperparameters=settings(checkpoint(arguments.out / "checkpoint"), arguments.epochs),
    )
    seconds = time.perf_counter() - start
    scores = predictor.evaluate(tables["test"], metrics=["accuracy"])
    print(json.dumps({"seconds": seconds, "accuracy": scores["accuracy"]}))


def table(folder: Path) -> Any:
    import pandas as pd

    files = sorted(folder.glob("*/*"))
    return pd.DataFrame(
        {"image": [str(file) for file in files], "label": [file.parent.name for file in files]}
    )


def settings(network: str, epochs: int) -> dict[str, Any]:
    return {
        "model.names": ["timm_image"],
        "model.timm_image.checkpoint_name": network,
        "model.timm_image.image_norm": "inception",
        "optim.max_epochs": epochs,
        "env.num_gpus": 0,
        "env.num_workers": os.cpu_count(),
        "env.precision": 32,
    }


def checkpoint(folder: Path) -> str:
    """Write the weights as a checkpoint that AutoGluon reads, where no hub can be asked."""
    import torch
    from safetensors.torch import load_file

    folder.mkdir(parents=True)
    weights = load_file(Path(os.environ["MEDFUSE_WEIGHTS"]) / WEIGHTS)
    torch.save(weights, folder / "pytorch_model.bin")
    size = {"input_size": [3, 224, 224], "mean": [0.5] * 3, "std": [0.5] * 3}
    described = {"architecture": NETWORK, "num_features": 1280, "pretrained_cfg": size}
    (folder / "config.json").write_text(json.dumps(described))
    return str(folder)


if __name__ == "__main__":
    main()
