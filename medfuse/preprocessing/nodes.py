"""The preprocessing as MONAI configuration nodes: one definition for training and serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.bundle.config_parser import ConfigParser

from medfuse.config import InputConfig
from medfuse.errors import ConfigError
from medfuse.preprocessing.tabular import columns_text

Node = dict[str, Any]

VENDORED_MODULES = (
    "medfuse.data.image_reader",
    "medfuse.data.image_file",
    "medfuse.data.image_tiff",
    "medfuse.data.image_array",
    "medfuse.data.image_facts",
    "medfuse.preprocessing.transforms",
)
TABULAR_MODULES = (
    "medfuse.data.cells",
    "medfuse.data.image_facts",
    "medfuse.preprocessing.tabular",
)


def config_nodes(config: InputConfig, bits: int | None = None) -> list[Node]:
    """Return the nodes that take a file name under ``image`` to the canonical image.

    Args:
        config: without ``auto``.
        bits: the only bit depth that is read; any if ``None``.

    Raises:
        ConfigError: ``intensity`` is still ``auto``.
    """
    if config.kind == "tabular":
        return [_table(config)]
    if config.intensity == "auto":
        raise ConfigError("inputs: intensity is auto, expected a resolved value (resolve_input).")
    reader = {
        "_target_": "scripts.data_image_reader.ImageFileReader",
        "scale": "dtype" if config.intensity == "range" else "none",
        "bits": bits,
    }
    return [
        {
            "_target_": "LoadImaged",
            "keys": "image",
            "reader": reader,
            "image_only": True,
            "ensure_channel_first": True,
        },
        _own("SqueezeTo2Dd"),
        *_intensity(config),
        _own("ToChannelsd", channels=config.channels),
        _resize(config),
        _own("RequireUnitd"),
    ]


def instantiate(nodes: Sequence[Node]) -> list[Any]:
    """Return the objects that nodes describe, with ``scripts`` taken from medfuse itself."""
    built: list[Any] = ConfigParser({"nodes": [_local(node) for node in nodes]}).get_parsed_content(
        "nodes"
    )
    return built


def _intensity(config: InputConfig) -> list[Node]:
    if config.intensity == "percentile":
        return [_own("ScaleToUnitd", percentiles=list(config.percentiles))]
    if config.intensity == "window":
        return [_own("ScaleToUnitd", window=list(config.bounds[0]))]
    return []


def _resize(config: InputConfig) -> Node:
    if config.fit == "letterbox":
        return _own("Letterboxd", spatial_size=list(config.shape))
    return {
        "_target_": "Resized",
        "keys": "image",
        "spatial_size": list(config.shape),
        "mode": "bilinear",
        "anti_aliasing": True,
    }


def _table(config: InputConfig) -> Node:
    if any(isinstance(column, str) for column in config.columns.values()):
        raise ConfigError("inputs: columns are as asked for, expected resolved ones.")
    return {
        "_target_": "scripts.preprocessing_tabular.TabularVectord",
        "keys": "image",
        "columns": columns_text(config.columns),
    }


def _own(name: str, **arguments: Any) -> Node:
    return {"_target_": f"scripts.preprocessing_transforms.{name}", "keys": "image", **arguments}


def _local(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _local(value) for key, value in node.items()}
    if isinstance(node, str):
        for module in (*VENDORED_MODULES, *TABULAR_MODULES):
            vendored = "scripts." + module.removeprefix("medfuse.").replace(".", "_") + "."
            if node.startswith(vendored):
                return f"{module}.{node.removeprefix(vendored)}"
    return node
