"""Small random networks for volumes, slices of volumes, and cases of three inputs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import timm
import torch
from monai.networks.nets import ResNet
from PIL import Image
from torch import nn

from medfuse.backbones.adapter import Adapter
from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source
from medfuse.backbones.table_row import TableRow
from medfuse.bundle import BundleRequest, InputSpec, Provenance, SourceRecord
from medfuse.config import AugmentationConfig, InputConfig
from medfuse.fusion.concat import ConcatFusion
from medfuse.fusion.slice_attention import SliceAttention
from medfuse.heads.linear import LinearHead
from medfuse.model import FeatureClassifier, FusedNetwork
from medfuse.preprocessing import VIEW_MODULES, augmentation_config, drawing_for
from medfuse.preprocessing.nodes import config_nodes, vendored_modules

CLASSES = ("benign", "malignant")
SIZE = (24, 20, 12)
FLAT = (40, 48)
COLUMNS = {
    "age": {"kind": "number", "center": 50.0, "scale": 10.0},
    "sex": {"kind": "category", "levels": ["F", "M"]},
}
VOLUME = InputConfig(
    kind="volume",
    modality="CT",
    size=SIZE,
    spacing="none",
    fit="stretch",
    intensity="window",
    window=(-100.0, 300.0),
    foreground=False,
)
PICTURE = InputConfig(
    kind="image", modality="XR", size=FLAT, spacing="none", fit="stretch", intensity="range"
)
TABLE = InputConfig(kind="tabular", columns=COLUMNS)
_RESNET = {
    "block": "basic",
    "layers": [1, 1, 1, 1],
    "block_inplanes": [4, 4, 8, 8],
    "spatial_dims": 3,
    "n_input_channels": 1,
    "feed_forward": False,
}
Part = tuple[nn.Module, dict[str, Any]]


def volume_part() -> Part:
    node = {
        "_target_": "scripts.backbones_source.Source",
        "backbone": {"_target_": "monai.networks.nets.ResNet", **_RESNET},
        "adapter": {"_target_": "scripts.backbones_adapter.Adapter", "channels": 1},
    }
    return Source(ResNet(**_RESNET), Adapter(1)), node


def picture_part(image_size: Sequence[int]) -> Part:
    backbone = {"model_name": "test_resnet", "pretrained": False, "num_classes": 0}
    adapter = {"channels": 3, "image_size": list(image_size), "size": [32, 32]}
    node = {
        "_target_": "scripts.backbones_source.Source",
        "backbone": {"_target_": "timm.create_model", **backbone},
        "adapter": {"_target_": "scripts.backbones_adapter.Adapter", **adapter},
    }
    return Source(timm.create_model(**backbone), Adapter(**adapter)), node


def sliced_part() -> Part:
    source, node = picture_part(SIZE[:2])
    sliced = {"_target_": "scripts.backbones_slices.SlicedSource", "slices": SIZE[2], "at_once": 5}
    return SlicedSource(source, SIZE[2], 5), {**sliced, "source": node}


def row_part() -> Part:
    return TableRow(), {"_target_": "scripts.backbones_table_row.TableRow"}


def fused(
    parts: Sequence[Part], positions: Sequence[int], shapes: Sequence[tuple[int, ...]]
) -> Part:
    """The network of ``parts`` with plausible statistics, and its node."""
    sources = [module.eval() for module, _ in parts]
    examples = [torch.rand(8, *shapes[i]) for i in positions]
    with torch.no_grad():
        found = [source(x) for source, x in zip(sources, examples, strict=True)]
    dims = [x.shape[-1] for x in found]
    pooling = [SliceAttention(x.shape[-1], 4) if x.ndim == 3 else None for x in found]
    for pool in filter(None, pooling):
        nn.init.normal_(pool.score.weight)
    head = LinearHead(sum(dims), len(CLASSES))
    nn.init.normal_(head.linear.weight, std=0.1)
    classifier = FeatureClassifier(dims, ConcatFusion(dims), head, pooling=pooling)
    for standardize, x in zip(classifier.standardize, found, strict=True):
        standardize.fit(x)
    network = FusedNetwork(sources, classifier, positions)
    network.temperature.fill_(1.3)
    attention = "scripts.fusion_slice_attention.SliceAttention"
    node = {
        "_target_": "scripts.model.FusedNetwork",
        "sources": [part for _, part in parts],
        "inputs": list(positions),
        "classifier": {
            "_target_": "scripts.model.FeatureClassifier",
            "in_dims": dims,
            "fusion": {"_target_": "scripts.fusion_concat.ConcatFusion", "in_dims": dims},
            "head": {
                "_target_": "scripts.heads_linear.LinearHead",
                "in_dim": sum(dims),
                "num_classes": len(CLASSES),
            },
            "pooling": [
                None if pool is None else {"_target_": attention, "dim": dim, "hidden": 4}
                for pool, dim in zip(pooling, dims, strict=True)
            ],
        },
    }
    return network.eval(), node


def request_of(
    name: str,
    inputs: dict[str, tuple[InputSpec, InputConfig]],
    parts: Sequence[Part],
    positions: Sequence[int],
) -> BundleRequest:
    specs = tuple(spec for spec, _ in inputs.values())
    network, node = fused(parts, positions, [spec.shape for spec in specs])
    modules = [m for _, config in inputs.values() for m in vendored_modules(config)]
    return BundleRequest(
        name=name,
        network=network,
        network_node=node,
        vendored=(
            "medfuse.model",
            "medfuse.backbones.source",
            "medfuse.backbones.adapter",
            "medfuse.backbones.slices",
            "medfuse.backbones.table_row",
            "medfuse.fusion.concat",
            "medfuse.fusion.presence",
            "medfuse.fusion.slice_attention",
            "medfuse.heads.linear",
            "medfuse.heads.noise",
            *dict.fromkeys(modules),
        ),
        requires=("timm", "nibabel", "pydicom"),
        preprocessing_nodes={k: tuple(config_nodes(c)) for k, (_, c) in inputs.items()},
        inputs=specs,
        classes=CLASSES,
        provenance=Provenance(
            sources=(SourceRecord(label="random", license="Apache-2.0", digest="0" * 64),)
        ),
        data="Generated volumes.",
        authors="The medfuse tests.",
    )


def volume_spec(name: str = "scan") -> InputSpec:
    return InputSpec(name=name, kind="volume", channels=1, size=SIZE, modality="CT")


def volume_request() -> BundleRequest:
    torch.manual_seed(1)
    request = request_of("solid", {"scan": (volume_spec(), VOLUME)}, [volume_part()], [0])
    views = augmentation_config(drawing_for(AugmentationConfig(), VOLUME, {}))
    return replace(
        request,
        augmentation_nodes={"scan": tuple(views)},
        vendored=(*request.vendored, *VIEW_MODULES),
    )


def sliced_request() -> BundleRequest:
    torch.manual_seed(2)
    parts = [sliced_part(), volume_part()]
    return request_of("sliced", {"scan": (volume_spec(), VOLUME)}, parts, [0, 0])


def several_request() -> BundleRequest:
    torch.manual_seed(3)
    row = InputSpec(name="clinical", kind="tabular", channels=5, columns=tuple(COLUMNS))
    xray = InputSpec(name="xray", channels=1, size=FLAT, modality="XR")
    inputs = {
        "ct": (volume_spec("ct"), VOLUME),
        "xray": (xray, PICTURE),
        "clinical": (row, TABLE),
    }
    parts = [volume_part(), picture_part(FLAT), row_part(), sliced_part()]
    return request_of("several", inputs, parts, [0, 1, 2, 0])


def write_volumes(folder: Path, count: int = 2) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    paths = [folder / f"scan-{number}.nii.gz" for number in range(count)]
    for path in paths:
        values = rng.integers(-150, 350, (22, 26, 14)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([-0.8, -0.9, 2.0, 1])), path)
    return paths


def write_cases(folder: Path) -> Path:
    """Five cases: complete, then without each input, then with the table row alone."""
    write_volumes(folder / "ct")
    (folder / "xray").mkdir()
    pixels = np.random.default_rng(4).integers(0, 256, (50, 60), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "xray" / "a.png")
    rows = [
        ("all", "ct/scan-0.nii.gz", "xray/a.png", "54", "F"),
        ("no-ct", "", "xray/a.png", "61", "M"),
        ("no-xray", "ct/scan-1.nii.gz", "", "33", ""),
        ("no-row", "ct/scan-1.nii.gz", "xray/a.png", "", ""),
        ("row", "", "", "70", "M"),
    ]
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case_id", "ct", "xray", "age", "sex"])
        writer.writerows(rows)
    return folder
