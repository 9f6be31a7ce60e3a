"""Train a dense head on two frozen MobileNets the way published Keras scripts do.

    .venvs/keras/bin/python benchmarks/keras_script.py FOLDER [--epochs 20] [--measured 2]

FOLDER has ``train``, ``validation`` and ``test``, each a folder of a class each. Runs in an
environment of its own, where there is TensorFlow and no medfuse: `benchmarks/keras_loop.py` starts
it and reads the JSON that it prints last. Every epoch goes through the frozen networks. The test
accuracy after all epochs is that of the same head, trained on what the networks gave once.

The networks are those of ``keras.applications`` with the weights in ``MEDFUSE_WEIGHTS``, MobileNet
up to its block 12; without that variable their weights are random.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

SIZE = (224, 224)
BATCH = 32
FILES = {
    "mobilenetv2_035": "mobilenetv2_035.keras_in1k.safetensors",
    "mobilenetv1_100": "mobilenetv1_100.keras_in1k.block12.safetensors",
}
_NORM = ("weight", "bias", "running_mean", "running_var")
_V2 = {
    "conv_pw": ("expand", "bn1"),
    "conv_dw": ("depthwise", "bn2"),
    "conv_pwl": ("project", "bn3"),
}


def main() -> None:
    """Print the seconds of each epoch, the test accuracy, and the features of a few images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--measured", type=int, default=2)
    parser.add_argument("--probe", type=Path, help=".npy of images in [-1, 1], for their features")
    arguments = parser.parse_args()
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    base = frozen_base()
    print(json.dumps(measured(base, arguments)))
    if arguments.probe:
        probe = np.load(arguments.probe)
        np.save(arguments.probe.with_name("features.npy"), base.predict(probe, verbose=0))


def measured(base: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what one run took, and what its head knows after all epochs."""
    parts = {name: images_in(arguments.folder / name) for name in ("train", "validation", "test")}
    classes = len(parts["train"].class_names)
    used = time.process_time()
    spent = through_images(base, parts, classes, arguments.measured)
    used = time.process_time() - used
    accuracy = banked_accuracy(base, parts, classes, arguments.epochs)
    return {"epochs": spent, "processor": used, "accuracy": accuracy}


def images_in(folder: Path) -> Any:
    import keras

    return keras.utils.image_dataset_from_directory(
        folder, image_size=SIZE, batch_size=BATCH, seed=0, shuffle=folder.name == "train", verbose=0
    )


def frozen_base() -> Any:
    """Return both networks as one, from images in [-1, 1] to features side by side."""
    import keras
    from keras.applications import MobileNet, MobileNetV2

    image = keras.Input((*SIZE, 3))
    wide = MobileNetV2(alpha=0.35, include_top=False, weights=None, input_tensor=image)
    deep = MobileNet(include_top=False, weights=None, input_tensor=image)
    if "MEDFUSE_WEIGHTS" in os.environ:
        load(wide, "mobilenetv2_035")
        load(deep, "mobilenetv1_100")
    pool = keras.layers.GlobalAveragePooling2D
    features = [pool()(wide.output), pool()(deep.get_layer("conv_pw_12_relu").output)]
    base = keras.Model(image, keras.layers.Concatenate()(features))
    base.trainable = False
    return base


def with_head(width: int, classes: int) -> Any:
    import keras

    head = [
        keras.Input((width,)),
        keras.layers.Dense(256, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(classes, activation="softmax"),
    ]
    return keras.Sequential(head)


def through_images(base: Any, parts: Mapping[str, Any], classes: int, epochs: int) -> list[float]:
    """Return the seconds of each epoch of ``model.fit`` over the images."""
    import keras

    ends = [time.perf_counter()]
    image = keras.Input((*SIZE, 3))
    features = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(image), training=False)
    model = compiled(keras.Model(image, with_head(base.output_shape[1], classes)(features)))
    tick = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _epoch, _logs: ends.append(time.perf_counter())
    )
    model.fit(
        parts["train"],
        validation_data=parts["validation"],
        epochs=epochs,
        callbacks=[tick],
        verbose=0,
    )
    return [after - before for before, after in zip(ends, ends[1:])]  # noqa: B905, RUF007


def banked_accuracy(base: Any, parts: Mapping[str, Any], classes: int, epochs: int) -> float:
    """Return the test accuracy of the head after all epochs, from features computed once."""
    import numpy as np

    found = {}
    for name, images in parts.items():
        batches = [(base(x / 127.5 - 1, training=False).numpy(), y.numpy()) for x, y in images]
        found[name] = tuple(np.concatenate(column) for column in zip(*batches))  # noqa: B905
    head = compiled(with_head(base.output_shape[1], classes))
    head.fit(
        *found["train"],
        validation_data=found["validation"],
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
    )
    return float(head.evaluate(*found["test"], verbose=0)[1])


def compiled(model: Any) -> Any:
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def load(model: Any, name: str) -> None:
    """Put the weights of a file with timm's names into a network of Keras."""
    from safetensors.numpy import load_file

    values = load_file(Path(os.environ["MEDFUSE_WEIGHTS"]) / FILES[name])
    for layer, keys in layers_of(name, list(values)).items():
        model.get_layer(layer).set_weights([_turned(values[key], layer) for key in keys])


def layers_of(name: str, keys: Sequence[str]) -> dict[str, list[str]]:
    """Return for each layer of Keras the keys of timm that hold its weights, in Keras's order."""
    second = name == "mobilenetv2_035"
    found: dict[str, list[str]] = {"Conv1" if second else "conv1": ["conv_stem.weight"]}
    found["bn_Conv1" if second else "conv1_bn"] = _norm("bn1")
    blocks = sorted(
        {tuple(map(int, m)) for m in re.findall(r"blocks\.(\d+)\.(\d+)\.", " ".join(keys))}
    )
    for number, (stage, index) in enumerate(blocks):
        block = f"blocks.{stage}.{index}"
        for conv, (layer, norm) in _block(second, number).items():
            found[layer] = [f"{block}.{conv}.weight"]
            found[f"{layer}_BN" if second else f"{layer}_bn"] = _norm(f"{block}.{norm}")
    if second:
        found |= {"Conv_1": ["conv_head.weight"], "Conv_1_bn": _norm("bn2")}
    return found


def _block(second: bool, number: int) -> dict[str, tuple[str, str]]:
    """Return for each convolution of a block of timm the layer of Keras and the norm behind it."""
    if not second:
        return {c: (f"{c}_{number + 1}", n) for c, n in (("conv_dw", "bn1"), ("conv_pw", "bn2"))}
    if number == 0:
        return {
            "conv_dw": ("expanded_conv_depthwise", "bn1"),
            "conv_pw": ("expanded_conv_project", "bn2"),
        }
    return {conv: (f"block_{number}_{layer}", norm) for conv, (layer, norm) in _V2.items()}


def _norm(prefix: str) -> list[str]:
    return [f"{prefix}.{name}" for name in _NORM]


def _turned(values: Any, layer: str) -> Any:
    """Return weights with the axes as Keras has them: rows, columns, in, out."""
    if values.ndim != 4:
        return values
    depthwise = "depthwise" in layer or "conv_dw" in layer
    return values.transpose(2, 3, 0, 1) if depthwise else values.transpose(2, 3, 1, 0)


if __name__ == "__main__":
    main()
