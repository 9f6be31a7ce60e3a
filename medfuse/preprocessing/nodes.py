"""The preprocessing as MONAI configuration nodes: one definition for training and serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medfuse.config import InputConfig
from medfuse.errors import ConfigError
from medfuse.monai_parser import config_parser
from medfuse.preprocessing.tabular_row import columns_text

Node = dict[str, Any]

IMAGE_MODULES = (
    "medfuse.data.image_reader",
    "medfuse.data.image_file",
    "medfuse.data.image_tiff",
    "medfuse.data.image_array",
    "medfuse.data.image_facts",
    "medfuse.data.plugin_reader",
    "medfuse.data.rendering",
    "medfuse.data.tiff_pages",
    "medfuse.data.volume_dicom",
    "medfuse.data.volume_facts",
    "medfuse.data.dicom",
    "medfuse.preprocessing.transforms",
)
VOLUME_MODULES = (
    "medfuse.data.volume_reader",
    "medfuse.data.volume_file",
    "medfuse.data.volume_array",
    "medfuse.data.volume_dicom",
    "medfuse.data.volume_facts",
    "medfuse.data.volume_metaimage",
    "medfuse.data.volume_nifti",
    "medfuse.data.volume_nrrd",
    "medfuse.data.volume_stream",
    "medfuse.data.image_array",
    "medfuse.data.image_facts",
    "medfuse.data.plugin_reader",
    "medfuse.data.tiff_pages",
    "medfuse.data.dicom",
    "medfuse.preprocessing.transforms",
    "medfuse.preprocessing.straight_grid",
    "medfuse.preprocessing.volume_transforms",
)
BIAS_FIELD_MODULES = ("medfuse.preprocessing.bias_field",)
TABULAR_MODULES = (
    "medfuse.data.cells",
    "medfuse.data.image_facts",
    "medfuse.preprocessing.tabular_row",
    "medfuse.preprocessing.tabular",
)
_MODULES = (
    *IMAGE_MODULES,
    *VOLUME_MODULES,
    *BIAS_FIELD_MODULES,
    *TABULAR_MODULES,
    "medfuse.preprocessing.views",
)


def vendored_modules(config: InputConfig) -> tuple[str, ...]:
    """Return the modules that the nodes of an input need in a bundle's ``scripts``."""
    if config.kind == "tabular":
        return TABULAR_MODULES
    if config.kind == "volume":
        return VOLUME_MODULES + (BIAS_FIELD_MODULES if config.bias_field == "n4" else ())
    return IMAGE_MODULES


def requirements(config: InputConfig) -> tuple[str, ...]:
    """Return the distributions that those modules import, beside torch, numpy and MONAI."""
    if config.kind == "tabular":
        return ()
    if config.kind == "volume":
        n4 = ("SimpleITK",) if config.bias_field == "n4" else ()
        return ("nibabel", "pydicom", "tifffile", *n4)
    return ("pillow", "pydicom", "tifffile")


def config_nodes(
    config: InputConfig, bits: int | None = None, readers: Sequence[Node] = ()
) -> list[Node]:
    """Return the nodes that take a file name under ``image`` to the canonical image.

    Args:
        config: without ``auto``.
        bits: the only bit depth of images that is read; any if ``None``.
        readers: nodes of plugins' readers.

    Raises:
        ConfigError: ``intensity`` or ``size`` is still ``auto``.
    """
    if config.kind == "tabular":
        return [_table(config)]
    if config.intensity == "auto":
        raise ConfigError("inputs: intensity is auto, expected a resolved value (resolve_input).")
    volume = config.kind == "volume"
    reader = _volume_reader(config) if volume else _image_reader(config, bits)
    return [
        _load({**reader, **({"readers": list(readers)} if readers else {})}),
        *(_volume_geometry(config) if volume else []),
        *([] if volume else [_own("SqueezeTo2Dd")]),
        *([_own("CropToForegroundd", above=_above(config))] if config.crop != "none" else []),
        *([_margins(config)] if _keeps_scale(config) else []),
        *_intensity(config),
        *([] if len(config.bounds) > 1 else [_own("ToChannelsd", channels=config.channels)]),
        _resize(config),
        _own("RequireUnitd"),
    ]


def instantiate(nodes: Sequence[Node]) -> list[Any]:
    """Return the objects that nodes describe, with ``scripts`` taken from medfuse itself."""
    parser = config_parser({"nodes": [_local(node) for node in nodes]})
    built: list[Any] = parser.get_parsed_content("nodes")
    return built


def _load(reader: Node) -> Node:
    return {
        "_target_": "LoadImaged",
        "keys": "image",
        "reader": reader,
        "image_only": True,
        "ensure_channel_first": True,
    }


def _image_reader(config: InputConfig, bits: int | None) -> Node:
    return {
        "_target_": "scripts.data_image_reader.ImageFileReader",
        "scale": "dtype" if config.intensity == "range" else "none",
        "bits": bits,
        **({"others": _rendering(config)} if config.other_depths != "refuse" else {}),
    }


def _rendering(config: InputConfig) -> Node:
    node = {
        "_target_": "scripts.data_rendering.Rendering",
        "percentiles": list(config.percentiles),
    }
    bounds = config.rendered_window
    return node if bounds is None else {**node, "window": list(bounds)}


def _volume_reader(config: InputConfig) -> Node:
    if config.spacing == "auto":
        raise ConfigError("inputs: spacing is auto, expected a resolved value (resolve_input).")
    return {
        "_target_": "scripts.data_volume_reader.VolumeReader",
        "scale": "dtype" if config.intensity == "range" else "none",
        "orientation": config.orientation,
        "geometry": config.spacing != "none",
    }


def _volume_geometry(config: InputConfig) -> list[Node]:
    orientation = {
        "_target_": "Orientationd",
        "keys": "image",
        "axcodes": config.orientation,
        "labels": [list("LR"), list("PA"), list("IS")],
    }
    respaced = _volume("Respaced", spacing=list(config.spacing))
    n4 = {"_target_": "scripts.preprocessing_bias_field.CorrectBiasFieldd", "keys": "image"}
    return [
        _volume("Straightend"),
        orientation,
        *([n4] if config.bias_field == "n4" else []),
        *([respaced] if config.spacing != "none" else []),
    ]


def _intensity(config: InputConfig) -> list[Node]:
    inside = {"foreground": _above(config)} if config.foreground is True else {}
    if config.intensity == "percentile":
        return [_own("ScaleToUnitd", percentiles=list(config.percentiles), **inside)]
    if config.intensity == "zscore":
        return [_own("ScaleToUnitd", deviations=3.0, **inside)]
    if config.intensity == "window" and len(config.bounds) == 1:
        return [_own("ScaleToUnitd", window=list(config.bounds[0]))]
    if config.intensity == "window":
        windows = [list(bounds) for bounds in config.bounds]
        return [_own("ToChannelsd", channels=1), _own("ScaleToUnitd", windows=windows)]
    return []


def _above(config: InputConfig) -> str | float:
    """Return the threshold of the foreground: air in HU, the black border of X-ray, the mean."""
    if config.modality == "CT" and config.intensity == "window":
        return -500.0
    return "minimum" if config.modality == "XR" else "mean"


def _keeps_scale(config: InputConfig) -> bool:
    """Return whether a voxel must stay as large in mm as ``spacing`` says."""
    return config.kind == "volume" and config.spacing != "none" and config.fit == "letterbox"


def _margins(config: InputConfig) -> Node:
    return _own("CropMarginsd", spatial_size=list(config.shape), above=_above(config))


def _resize(config: InputConfig) -> Node:
    if config.fit == "letterbox":
        scale = {"enlarge": False} if _keeps_scale(config) else {}
        return _own("Letterboxd", spatial_size=list(config.shape), **scale)
    return {
        "_target_": "Resized",
        "keys": "image",
        "spatial_size": list(config.shape),
        "mode": "bilinear" if len(config.shape) == 2 else "trilinear",
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


def _volume(name: str, **arguments: Any) -> Node:
    place = "scripts.preprocessing_volume_transforms"
    return {"_target_": f"{place}.{name}", "keys": "image", **arguments}


def _own(name: str, **arguments: Any) -> Node:
    return {"_target_": f"scripts.preprocessing_transforms.{name}", "keys": "image", **arguments}


def _local(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _local(value) for key, value in node.items()}
    if isinstance(node, str):
        for module in _MODULES:
            vendored = "scripts." + module.removeprefix("medfuse.").replace(".", "_") + "."
            if node.startswith(vendored):
                return f"{module}.{node.removeprefix(vendored)}"
    return node
