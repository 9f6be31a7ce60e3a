"""A small fused network of two public backbones, and a bundle of it."""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from medfuse.backbones.adapter import Adapter
from medfuse.backbones.source import Source
from medfuse.bundle import BundleRequest, InputSpec, Provenance, SourceRecord
from medfuse.bundle.write import write_bundle
from medfuse.fusion.concat import ConcatFusion
from medfuse.heads.linear import LinearHead
from medfuse.model import FeatureClassifier, FusedNetwork
from medfuse.registry.vendoring import vendored_path

BACKBONES = ("test_resnet", "test_efficientnet")
CLASSES = ("normal", "pneumonia", "Covid-19")
SIZE = (40, 48)


def source_node(name: str) -> dict[str, Any]:
    return {
        "_target_": "scripts.backbones_source.Source",
        "backbone": {
            "_target_": "timm.create_model",
            "model_name": name,
            "pretrained": False,
            "num_classes": 0,
        },
        "adapter": {
            "_target_": "scripts.backbones_adapter.Adapter",
            "channels": 3,
            "image_size": list(SIZE),
            "size": [32, 32],
            "mean": [0.5],
            "std": [0.25],
        },
    }


def build_source(name: str) -> Source:
    backbone = timm.create_model(name, pretrained=False, num_classes=0)
    adapter = Adapter(3, mean=[0.5], std=[0.25], image_size=SIZE, size=(32, 32))
    return Source(backbone, adapter).eval()


def build_network(num_classes: int) -> tuple[FusedNetwork, list[int]]:
    torch.manual_seed(0)
    sources = [build_source(name) for name in BACKBONES]
    dims = [source(torch.zeros(1, 1, *SIZE)).shape[1] for source in sources]
    head = LinearHead(sum(dims), num_classes)
    torch.nn.init.normal_(head.linear.weight, std=0.2)
    network = FusedNetwork(sources, FeatureClassifier(dims, ConcatFusion(dims), head))
    network.temperature.fill_(1.5)
    for standardize, source in zip(network.classifier.standardize, sources, strict=True):
        with torch.no_grad():
            standardize.fit(source(torch.rand(16, 1, *SIZE)))
    return network.eval(), dims


def with_imports(module: str) -> list[str]:
    """The module and what it imports of medfuse, all of which go into ``scripts``."""
    found = [module]
    for name in found:
        text = vendored_path(name).read_text(encoding="utf-8")
        imported = re.findall(r"^ *from (medfuse\.[\w.]+) import", text, re.MULTILINE)
        whole = [re.sub(r"(medfuse\.data\.dicom)\..*", r"\1", other) for other in imported]
        found += [other for other in dict.fromkeys(whole) if other not in found]
    return found


def make_request(classes: tuple[str, ...] = CLASSES, **changes: Any) -> BundleRequest:
    network, dims = build_network(len(classes))
    node = {
        "_target_": "scripts.model.FusedNetwork",
        "sources": [source_node(name) for name in BACKBONES],
        "classifier": {
            "_target_": "scripts.model.FeatureClassifier",
            "in_dims": dims,
            "fusion": {"_target_": "scripts.fusion_concat.ConcatFusion", "in_dims": dims},
            "head": {
                "_target_": "scripts.heads_linear.LinearHead",
                "in_dim": sum(dims),
                "num_classes": len(classes),
            },
        },
    }
    request = BundleRequest(
        name="tiny",
        network=network,
        network_node=node,
        vendored=(
            "medfuse.model",
            "medfuse.backbones.source",
            "medfuse.backbones.adapter",
            "medfuse.fusion.concat",
            "medfuse.fusion.presence",
            "medfuse.heads.linear",
            "medfuse.heads.noise",
            *with_imports("medfuse.data.image_reader"),
        ),
        requires=("timm",),
        preprocessing_nodes={
            "image": (
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "reader": {"_target_": "scripts.data_image_reader.ImageFileReader"},
                },
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Resized", "keys": "image", "spatial_size": list(SIZE)},
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
            )
        },
        inputs=(InputSpec(channels=1, size=SIZE, modality="XR"),),
        classes=classes,
        provenance=Provenance(
            sources=tuple(
                SourceRecord(
                    label=name,
                    license="Apache-2.0",
                    digest="0" * 64,
                    package="timm",
                    version=timm.__version__,
                    domain="nothing (random weights)",
                )
                for name in BACKBONES
            ),
            split_digest="1" * 64,
        ),
        metrics={"auroc": {"value": 0.9312, "low": 0.9, "high": 0.96}},
        data="Generated images.",
        authors="The medfuse tests.",
    )
    return replace(request, **changes)


def write_images(folder: Path, count: int = 3, seed: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = [folder / f"patient-{number:03d}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (50, 60), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what runs a shared bundle from writing ``__pycache__`` (with paths) into it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def generated() -> ModuleType:
    """Requests of volumes and of several inputs, and the files of their cases."""
    return module_at(_HERE / "volume_requests.py")


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """DICOM files with a known truth."""
    return module_at(_HERE.parent / "data" / "dicom" / "synthetic.py")


@pytest.fixture(scope="session")
def volumes(generated: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    generated.write_volumes(folder / "ward")
    return folder


@pytest.fixture(scope="session")
def cases(generated: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated.write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="session")
def requests_(generated: ModuleType) -> dict[str, BundleRequest]:
    """By name, a request of a 3D network, one of slices and 3D fused, and one of three inputs."""
    made = (generated.volume_request, generated.sliced_request, generated.several_request)
    return {request.name: request for request in (make() for make in made)}


@pytest.fixture(scope="session")
def written(
    requests_: dict[str, BundleRequest], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The bundles of `requests_`."""
    folder = tmp_path_factory.mktemp("written")
    return {name: write_bundle(request, folder) for name, request in requests_.items()}


@pytest.fixture(scope="session")
def request_for() -> Callable[..., BundleRequest]:
    return make_request


@pytest.fixture(scope="session")
def write_ward() -> Callable[..., list[Path]]:
    return write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder / "ward")
    return folder


@pytest.fixture(scope="session")
def request_(images: Path) -> BundleRequest:
    return make_request(examples=(str(images / "ward" / "patient-000.png"),))


@pytest.fixture(scope="session")
def bundle(request_: BundleRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(request_, tmp_path_factory.mktemp("bundles"))


@contextmanager
def clean_process() -> Iterator[None]:
    """What MONAI leaves behind in a process: search path, ``scripts``, and warnings."""
    path, modules = list(sys.path), set(sys.modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] == "scripts":
                del sys.modules[name]


def run_bundle(bundle: Path, images: Path, out: Path, *configs: str, **override: Any) -> Path:
    """What ``python -m monai.bundle run`` does, in this process."""
    import monai.bundle

    names = configs or ("inference.json",)
    with clean_process():
        monai.bundle.run(
            config_file=[str(bundle / "configs" / name) for name in names],
            bundle_root=str(bundle),
            dataset_dir=str(images),
            output_dir=str(out),
            logging_file=False,
            **override,
        )
    return out / "predictions.csv"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="session")
def monai_run() -> Callable[..., Path]:
    return run_bundle


@pytest.fixture(scope="session")
def read_table() -> Callable[[Path], list[dict[str, str]]]:
    return table


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def run_rows() -> Callable[..., list[dict[str, str]]]:
    return lambda *arguments: table(run_bundle(*arguments))
