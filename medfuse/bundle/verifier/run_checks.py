"""What a bundle does when it is run."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from math import isnan
from pathlib import Path
from typing import Any

from .file_checks import GRAPH
from .samples import labelled_folder, sample_count, sample_folder
from .subject import Bundle, CheckFailedError, CheckSkippedError, root_cause

Outputs = Callable[[tuple[Any, ...]], tuple[Any, ...]]

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

    if bundle.table is not None:
        return _check_several(bundle)
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
    if _holds(bundle.config("inference.json"), "_disabled_"):
        raise CheckFailedError(
            "inference.json: a node has '_disabled_'; if it is the loader of the weights, random "
            "ones answer",
            "LOADER_DISABLED",
        )
    count = sum(tensor.numel() for tensor in bundle.network().state_dict().values())
    return f"{count} numbers fit the network exactly"


def check_agreement(bundle: Bundle) -> str:
    """All formats of the network give the same logits and features."""
    import torch

    if GRAPH in bundle.left_out:
        raise CheckSkippedError(f"{GRAPH}: {bundle.left_out[GRAPH]}")
    network, images = _both_outputs(bundle.network()), bundle.fixed_input()
    path = bundle.root / GRAPH
    traced = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    parts = []
    formats = {"model.ts": _both_outputs(traced)}
    if (bundle.root / "models" / "model.onnx").is_file():
        formats["model.onnx"] = _onnx(bundle)
    for name, other in formats.items():
        with torch.inference_mode():
            largest = _largest(
                _distance(expected, found)
                for batch in (images, *_with_missing(images))
                for expected, found in zip(network(batch), other(batch), strict=True)
            )
        if not largest <= TOLERANCE:
            raise CheckFailedError(
                f"{name} differs from the network by {largest:.2g} (limit {TOLERANCE:g})"
            )
        parts.append(f"{name} {largest:.1e}")
    return f"largest difference: {', '.join(parts)}"


def check_sample_run(bundle: Bundle) -> str:
    """MONAI runs the bundle on a case and gets probabilities; then on cases that lack an input."""
    rows = _run_on_sample(bundle, ["inference.json"])
    exclusive = bundle.metadata.get("medfuse", {}).get("link") == "softmax"
    for row in rows:
        probabilities = _probabilities(row)
        if not all(0 <= p <= 1 for p in probabilities):
            raise CheckFailedError(f"probabilities {probabilities} are not in [0, 1]")
        if exclusive and abs(sum(probabilities) - 1) > 1e-5:
            raise CheckFailedError(f"probabilities {probabilities} do not sum to 1")
    further = f", and {len(rows) - 1} that lack an input" if len(rows) > 1 else ""
    first = rows[0]
    said = first["predicted"] or "none of the labels"
    if first.get("status", "ok") != "ok":
        said = f"{first['status']} ({first['reason_code']})"
    return f"{next(iter(first.values()))}, generated -> {said}{further}"


def check_traced_run(bundle: Bundle) -> str:
    """MONAI gets the same from the traced network, without the network's code."""
    if not bundle.retrainable:
        raise CheckSkippedError("inference.json itself takes model.ts")
    if GRAPH in bundle.left_out:
        raise CheckSkippedError(f"{GRAPH}: {bundle.left_out[GRAPH]}")
    rows = [
        _run_on_sample(bundle, configs)
        for configs in (["inference.json"], ["inference.json", "inference_ts.json"])
    ]
    largest = _largest(
        abs(a - b)
        for one, other in zip(*rows, strict=True)
        for a, b in zip(_probabilities(one), _probabilities(other), strict=True)
    )
    if not largest <= TOLERANCE:
        raise CheckFailedError(f"inference_ts.json differs by {largest:.2g} in probability")
    return f"largest difference in probability {largest:.1e}"


def check_empty_input(bundle: Bundle) -> str:
    """A folder without images is an error."""
    empty = bundle.work / "empty"
    empty.mkdir()
    try:
        monai_run(bundle, ["inference.json"], empty, bundle.work / "none")
    except Exception as error:
        if "no input images" not in root_cause(error):
            raise
        return "refused"
    raise CheckFailedError("an empty folder passes without an error")


def monai_run(bundle: Bundle, configs: list[str], images: Path, out: Path) -> None:
    """Do what ``python -m monai.bundle run`` does, on the processor."""
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


def _check_properties(bundle: Bundle, config: str, kind: str) -> str:
    from monai.bundle.workflows import ConfigWorkflow

    folder = labelled_folder(bundle) if kind == "train" else sample_folder(bundle)
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


def _check_several(bundle: Bundle) -> str:
    """MONAI's own check knows one input, ``image``; this is the same for several."""
    import torch

    with torch.inference_mode():
        found = bundle.network()(*bundle.fixed_input())
    expected = (3, len(bundle.class_names()))
    if tuple(found.shape) != expected or found.dtype != torch.float32:
        raise CheckFailedError(
            f"the network gives {tuple(found.shape)} {found.dtype}, expected {expected} float32"
        )
    return f"inputs {', '.join(bundle.inputs)}: shapes and types as metadata.json says"


def _with_missing(images: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield the batch with each input missing in its first case; nothing for a single input."""
    for missing in range(len(images) if len(images) > 1 else 0):
        changed = [image.clone() for image in images]
        changed[missing][0] = float("nan")
        yield tuple(changed)


def _both_outputs(network: Any) -> Outputs:
    return lambda batch: (network(*batch), network.features(*batch))


def _onnx(bundle: Bundle) -> Outputs:
    import onnxruntime
    import torch

    path = str(bundle.root / "models" / "model.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def outputs(batch: tuple[Any, ...]) -> tuple[Any, ...]:
        fed = {name: image.numpy() for name, image in zip(bundle.inputs, batch, strict=True)}
        return tuple(map(torch.from_numpy, session.run(["pred", "features"], fed)))

    return outputs


def _probabilities(row: dict[str, str]) -> list[float]:
    return [float(value) for name, value in row.items() if name.startswith("prob_")]


def _distance(expected: Any, found: Any) -> float:
    """Return the largest difference, relative to the largest value where that is above 1."""
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1.0))


def _largest(differences: Iterable[float]) -> float:
    """Return the largest of them; NaN if one is, which `max` alone can miss."""
    return max(differences, key=lambda one: (isnan(one), one))


def _holds(node: Any, key: str) -> bool:
    """Return whether any node of a configuration has the key."""
    if isinstance(node, dict):
        return key in node or any(_holds(value, key) for value in node.values())
    return isinstance(node, list) and any(_holds(value, key) for value in node)


def _run_on_sample(bundle: Bundle, configs: list[str]) -> list[dict[str, str]]:
    out = bundle.work / "-".join(configs)
    monai_run(bundle, configs, sample_folder(bundle), out)
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as handle:
        header, *rows = list(csv.reader(handle))
    first = ["image"] if bundle.table is None else ["case_id", "inputs"]
    judged = "abstention" in bundle.config("inference.json")
    first += ["status", "reason_code"] if judged else []
    expected = [*first, "predicted", *(f"prob_{name}" for name in bundle.class_names())]
    expected += ["set", "distance"] if judged else []
    if header != expected or len(rows) != sample_count(bundle):
        raise CheckFailedError(f"predictions.csv has header {header} and {len(rows)} rows")
    return [dict(zip(header, row, strict=True)) for row in rows]
