"""Write a bundle: whole or not at all."""

from __future__ import annotations

import copy
import io
import json
import logging
import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medfuse.bundle.card import license_text, model_card
from medfuse.bundle.digests import write_digests
from medfuse.bundle.evaluation_config import evaluation_config
from medfuse.bundle.inference_config import inference_config, inference_ts_config
from medfuse.bundle.metadata import metadata
from medfuse.bundle.multi_gpu_config import multi_gpu_train_config
from medfuse.bundle.names import bundle_folder_name, check_request
from medfuse.bundle.nodes import own_modules, why_not_trainable
from medfuse.bundle.onnx_model import write_onnx
from medfuse.bundle.parity import check_rebuilt, fixed_input
from medfuse.bundle.request import BundleRequest
from medfuse.bundle.requirements import copy_scripts, required_packages
from medfuse.bundle.seen import write_seen
from medfuse.bundle.torchscript import write_torchscript
from medfuse.bundle.train_config import train_config
from medfuse.errors import BundleError
from medfuse.evaluation.feature_distance import DISTANCES
from medfuse.evaluation.feature_statistics import write_distances
from medfuse.storage import atomic_folder, write_json, write_text

if TYPE_CHECKING:
    from medfuse.model import FusedNetwork

GRAPHS_LEFT_OUT = (
    "not asked for (bundle.graphs), to keep the bundle small; MONAI's ckpt_export and onnx_export "
    "make them"
)
LABELLED = ("configs/train.json", "configs/multi_gpu_train.json", "configs/evaluate.json")
logger = logging.getLogger("medfuse")


def write_bundle(
    request: BundleRequest, folder: Path, check: Callable[[Path], None] | None = None
) -> Path:
    """Write ``<name>_classification`` into ``folder`` and return its path.

    A bundle of the same name is replaced, in one step and only when the new one is complete.

    Args:
        request: what the bundle is made of.
        folder: made if need be.
        check: called with the complete bundle before it gets its name; if it raises, nothing is
            left behind, and a bundle that was there before stays.

    Raises:
        BundleError: the request is not usable, something else is in the way, or what was written
            does not give the trained network's results.
        PluginError: a vendored module imports what a user of the bundle would not have.
        OutputError: the folder cannot be written.
    """
    check_request(request)
    target = Path(folder) / bundle_folder_name(request.name)
    _refuse_other_content(target)
    network = copy.deepcopy(request.network).cpu().eval()
    with atomic_folder(target) as root:
        _fill(request, network, root)
        if check is not None:
            check(root)
    return target


def _fill(request: BundleRequest, network: FusedNetwork, root: Path) -> None:
    modules = (*own_modules(request), *request.vendored)
    judging = ("safetensors",) if request.abstention is not None else ()
    requires = (*request.requires, *judging)
    copy_scripts(modules, requires, root / "scripts")
    packages = required_packages(root / "scripts", requires)
    document = plain(metadata(request, packages))
    left_out = _write_configs(request, document, root / "configs")
    measured = _write_models(request, network, root, left_out)
    measured["rebuilt"] = check_rebuilt(request, network, root)
    document["medfuse"] |= {"left_out": left_out, "parity": measured}
    write_json(root / "configs" / "metadata.json", document)
    write_text(root / "docs" / "README.md", model_card(request, left_out, packages))
    write_text(root / "LICENSE", license_text(request))
    write_seen(root, request.provenance.seen)
    write_digests(root)
    for name, reason in left_out.items():
        if reason == GRAPHS_LEFT_OUT:
            continue
        logger.warning("bundle %s: without %s: %s", request.name, name, reason)


def plain(value: Any) -> Any:
    """Return JSON data with ``null`` for numbers that are not finite (undefined metrics)."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_configs(request: BundleRequest, document: Any, folder: Path) -> dict[str, str]:
    """Write the configurations; return what was left out, and why."""
    left_out: dict[str, str] = {}
    write_json(folder / "metadata.json", document)
    write_json(folder / "inference.json", inference_config(request))
    if request.network_node is not None and request.graphs:
        write_json(folder / "inference_ts.json", inference_ts_config())
    why_not = why_not_trainable(request)
    if why_not:
        left_out |= dict.fromkeys(LABELLED, why_not)
    else:
        write_json(folder / "train.json", train_config(request))
        write_json(folder / "multi_gpu_train.json", multi_gpu_train_config())
        write_json(folder / "evaluate.json", evaluation_config(request))
    if request.network_node is None:
        left_out["models/model.pt"] = why_not
    conf = files("medfuse.bundle").joinpath("logging.conf").read_text(encoding="utf-8")
    write_text(folder / "logging.conf", conf)
    return left_out


def _write_models(
    request: BundleRequest, network: FusedNetwork, root: Path, left_out: dict[str, str]
) -> dict[str, Any]:
    """Write the weights in all formats; return how far each is from the network."""
    folder = root / "models"
    folder.mkdir()
    example = fixed_input(request.inputs)
    if request.network_node is not None:
        weights = io.BytesIO()
        torch.save(_weights(network, compact=not request.graphs), weights)
        (folder / "model.pt").write_bytes(weights.getbuffer())
    if request.abstention is not None:
        write_distances(request.abstention.distances, folder / DISTANCES)
    if not request.graphs:
        names = ("models/model.ts", "models/model.onnx", "configs/inference_ts.json")
        left_out |= dict.fromkeys(names, GRAPHS_LEFT_OUT)
        return {}
    extra = {name: _read(root, name) for name in ("metadata.json", "inference.json")}
    difference = write_torchscript(network, example, folder / "model.ts", extra)
    named = dict(zip(request.keyed, example, strict=True))
    outcome = write_onnx(network, named, folder / "model.onnx")
    if isinstance(outcome, str):
        left_out["models/model.onnx"] = outcome
        return {"torchscript": difference}
    return {"torchscript": difference, "onnx": outcome}


def _weights(network: FusedNetwork, compact: bool) -> dict[str, torch.Tensor]:
    """Return the bare state_dict; compact, what half precision holds exactly is kept in half.

    Loading it gives the same float32 numbers: `torch.nn.Module.load_state_dict` copies values.
    """
    state: dict[str, torch.Tensor] = network.state_dict()
    if not compact:
        return state
    return type(state)((name, _halved(tensor)) for name, tensor in state.items())


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.half() if tensor.dtype == torch.float32 else tensor
    return half if torch.equal(half.to(tensor.dtype), tensor) else tensor


def _read(root: Path, name: str) -> Any:
    return json.loads((root / "configs" / name).read_text(encoding="utf-8"))


def _refuse_other_content(target: Path) -> None:
    """A folder that is no bundle was made by somebody else, and stays."""
    if target.exists() and not (target / "configs" / "metadata.json").is_file():
        raise BundleError(
            f"{target}: exists and is not a bundle. Remove it, or choose another folder or name."
        )
