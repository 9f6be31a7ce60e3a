"""The bundle under test, and how a check ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .failure import CheckFailedError, CheckSkippedError
from .integrity import CACHE, DIGESTS, SIGNATURE

__all__ = ["Bundle", "CheckFailedError", "CheckSkippedError", "root_cause"]


class Bundle:
    """The bundle under test: paths, configurations, and the network once it is built."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.root = Path(settings["bundle"])
        self.work = Path(settings["work"])
        self.schema = settings["schema"]
        key = settings.get("trusted_key")
        self.trusted_key = Path(key) if key else None

    def config(self, name: str) -> Any:
        """Return a configuration as plain data."""
        return json.loads((self.root / "configs" / name).read_text(encoding="utf-8"))

    @property
    def metadata(self) -> Any:
        """``metadata.json`` as plain data."""
        return self.config("metadata.json")

    @property
    def retrainable(self) -> bool:
        """Whether the network is there as code and weights."""
        return not (self.metadata.get("medfuse") or {}).get("graph_only")

    @property
    def left_out(self) -> dict[str, str]:
        """What the writer left out by intention, and why."""
        found: dict[str, str] = (self.metadata.get("medfuse") or {}).get("left_out") or {}
        return found

    def config_path(self, name: str) -> str:
        """Return where a configuration lies."""
        return str(self.root / "configs" / name)

    def network(self) -> Any:
        """Return the network with its weights, in eval mode."""
        import torch
        from monai.bundle.config_parser import ConfigParser

        parser = ConfigParser()
        parser.read_config(self.config_path("inference.json"))
        parser["bundle_root"] = str(self.root)
        parser["device"] = torch.device("cpu")
        network = parser.get_parsed_content("network_def")
        if not isinstance(network, torch.jit.ScriptModule):
            state = torch.load(self.root / "models" / "model.pt", weights_only=True)
            network.load_state_dict(state, strict=True)
        return network.eval()

    @property
    def inputs(self) -> dict[str, Any]:
        """What ``metadata.json`` says of each input, in the order of the network."""
        return dict(self.metadata["network_data_format"]["inputs"])

    @property
    def table(self) -> dict[str, Any] | None:
        """By input, its columns in a table of cases; ``None`` if cases are files."""
        text = self.config("inference.json").get("case_inputs")
        found: dict[str, Any] | None = json.loads(text) if text else None
        return found

    def fixed_input(self) -> tuple[Any, ...]:
        """Return three cases, the same each time: one tensor per input."""
        import torch

        generator = torch.Generator().manual_seed(0)
        shapes = [(3, i["num_channels"], *i["spatial_shape"]) for i in self.inputs.values()]
        return tuple(torch.rand(shape, generator=generator) for shape in shapes)

    @property
    def several_labels(self) -> bool:
        """Whether several labels may hold of a case, or none."""
        return bool((self.metadata.get("medfuse") or {}).get("link") == "sigmoid")

    def class_names(self) -> list[str]:
        """Return the class names in the order of the outputs."""
        pred = self.metadata["network_data_format"]["outputs"]["pred"]
        return list(pred["channel_def"].values())

    def files(self) -> list[Path]:
        """Return all files but the digests, their signature and what Python compiled."""
        return [
            path
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and CACHE not in path.parts and path.name not in (DIGESTS, SIGNATURE)
        ]


def root_cause(error: BaseException) -> str:
    """Return the first cause; MONAI nests it below four or five reports of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0]}".removeprefix("CheckFailedError: ")
    return text[:400]
