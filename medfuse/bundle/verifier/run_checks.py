"""What a bundle does when it is run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from .subject import Bundle, CheckFailedError, CheckSkippedError, root_cause

TOLERANCE = 1e-4


def check_infer_properties(bundle: Bundle) -> str:
    """The inference configuration has the ids that MONAI expects."""
    return _check_properties(bundle, "inference.json", "infer")


def check_train_properties(bundle: Bundle) -> str:
    """The training configuration has the ids that MONAI expects."""
    if not (bundle.root / "configs" / "train.json").is_file():
        raise CheckSkippedError("this bundle cannot be trained (see docs/README.md)")
    return _check_properties(bundle, "train.json", "train")


def check_net_in_out(bundle: Bundle) -> str:
    """MONAI's own check of the network's shapes and types."""
    from monai.bundle.scripts import verify_net_in_out

    verify_net_in_out(
        net_id="network_def",
        meta_file=bundle.config_path("metadata.json"),
        config_file=bundle.config_path("inference.json"),
        device="cpu",
        bundle_root=str(bundle.root),
    )
    return "shapes and types as metadata.json says"


def check_weights(bundle: Bundle) -> str:
    """The weights fit the network, none missing and none left over."""
    if not bundle.retrainable:
        raise CheckSkippedError("the network exists only as a graph")
    count = sum(tensor.numel() for tensor in bundle.network().state_dict().values())
    return f"{count} numbers fit the network exactly"


def check_agreement(bundle: Bundle) -> str:
    """All formats of the network give the same logits and features."""
    import torch

    network, image = bundle.network(), bundle.fixed_input()
    path = bundle.root / "models" / "model.ts"
    traced = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    parts = []
    with torch.inference_mode():
        expected = network(image), network.features(image)
        found = {"model.ts": (traced(image), traced.features(image))}
    found |= _onnx_outputs(bundle, image)
    for name, outputs in found.items():
        largest = max(_distance(a, b) for a, b in zip(expected, outputs, strict=True))
        if not largest <= TOLERANCE:
            raise CheckFailedError(
                f"{name} differs from the network by {largest:.2g} (limit {TOLERANCE:g})"
            )
        parts.append(f"{name} {largest:.1e}")
    return f"largest difference: {', '.join(parts)}"


def check_sample_run(bundle: Bundle) -> str:
    """MONAI runs the bundle on an image and gets probabilities."""
    rows = _run_on_sample(bundle, ["inference.json"])
    probabilities = [float(value) for value in rows[0][2:]]
    if not all(0 <= p <= 1 for p in probabilities):
        raise CheckFailedError(f"probabilities {probabilities} are not in [0, 1]")
    exclusive = bundle.metadata.get("medfuse", {}).get("link") == "softmax"
    if exclusive and abs(sum(probabilities) - 1) > 1e-5:
        raise CheckFailedError(f"probabilities {probabilities} do not sum to 1")
    return f"{rows[0][0]} -> {rows[0][1]}"


def check_traced_run(bundle: Bundle) -> str:
    """MONAI gets the same from the traced network, without the network's code."""
    if not bundle.retrainable:
        raise CheckSkippedError("inference.json itself takes model.ts")
    rows = [
        _run_on_sample(bundle, configs)[0]
        for configs in (["inference.json"], ["inference.json", "inference_ts.json"])
    ]
    largest = max(abs(float(a) - float(b)) for a, b in zip(rows[0][2:], rows[1][2:], strict=True))
    if not largest <= TOLERANCE:
        raise CheckFailedError(f"inference_ts.json differs by {largest:.2g} in probability")
    return f"largest difference in probability {largest:.1e}"


def check_empty_input(bundle: Bundle) -> str:
    """A folder without images is an error."""
    empty = bundle.work / "empty"
    empty.mkdir()
    try:
        _monai_run(bundle, ["inference.json"], empty, bundle.work / "none")
    except Exception as error:
        if "no input images" not in root_cause(error):
            raise
        return "refused"
    raise CheckFailedError("an empty folder passes without an error")


def _check_properties(bundle: Bundle, config: str, kind: str) -> str:
    from monai.bundle.workflows import ConfigWorkflow

    folder = _labelled_folder(bundle) if kind == "train" else _sample_folder(bundle)
    workflow = ConfigWorkflow(
        config_file=bundle.config_path(config),
        workflow_type=kind,
        logging_file=False,
        bundle_root=str(bundle.root),
        dataset_dir=str(folder),
    )
    workflow.initialize()
    wrong = workflow.check_properties()
    if wrong:
        raise CheckFailedError(f"{config}: {', '.join(wrong)}")
    return f"{config} has all ids MONAI expects"


def _onnx_outputs(bundle: Bundle, image: Any) -> dict[str, tuple[Any, ...]]:
    path = bundle.root / "models" / "model.onnx"
    if not path.is_file():
        return {}
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(["pred", "features"], {"image": image.numpy()})
    return {"model.onnx": tuple(map(torch.from_numpy, outputs))}


def _distance(expected: Any, found: Any) -> float:
    """Return the largest difference, relative to the largest value where that is above 1."""
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1.0))


def _labelled_folder(bundle: Bundle) -> Path:
    folder = bundle.work / "labelled"
    sample = next(_sample_folder(bundle).iterdir())
    for part in ("train", "val"):
        for name in bundle.class_names():
            place = folder / part / name
            place.mkdir(parents=True, exist_ok=True)
            (place / sample.name).write_bytes(sample.read_bytes())
    return folder


def _sample_folder(bundle: Bundle) -> Path:
    """Return a folder with one generated image of the network's own size."""
    import numpy as np

    folder = bundle.work / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    shape = bundle.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    ramp = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    if len(shape) == 3:
        import nibabel

        image = nibabel.Nifti1Image(ramp, np.eye(4))  # type: ignore[no-untyped-call]
        nibabel.save(image, folder / "sample.nii.gz")
    elif _bit_depth(bundle) == 32:
        np.save(folder / "sample.npy", ramp)
    else:
        from PIL import Image

        kind = np.uint16 if _bit_depth(bundle) == 16 else np.uint8
        Image.fromarray((ramp * np.iinfo(kind).max).astype(kind)).save(folder / "sample.png")
    return folder


def _bit_depth(bundle: Bundle) -> int:
    """Return the only bit depth that the bundle's reader takes; 8 if it takes any."""
    first = bundle.config("inference.json")["preprocessing"]["transforms"][0]
    reader = first.get("reader")
    return int((reader.get("bits") if isinstance(reader, dict) else None) or 8)


def _run_on_sample(bundle: Bundle, configs: list[str]) -> list[list[str]]:
    out = bundle.work / "-".join(configs)
    _monai_run(bundle, configs, _sample_folder(bundle), out)
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as handle:
        header, *rows = list(csv.reader(handle))
    expected = ["image", "predicted", *(f"prob_{name}" for name in bundle.class_names())]
    if header != expected or len(rows) != 1:
        raise CheckFailedError(f"predictions.csv has header {header} and {len(rows)} rows")
    return rows


def _monai_run(bundle: Bundle, configs: list[str], images: Path, out: Path) -> None:
    from monai.bundle.scripts import run

    settings: dict[str, Any] = {"logging_file": False}
    run(
        config_file=[bundle.config_path(name) for name in configs],
        bundle_root=str(bundle.root),
        dataset_dir=str(images),
        output_dir=str(out),
        device="cpu",
        **settings,
    )
