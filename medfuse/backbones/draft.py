"""What is known of a source while it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from medfuse.backbones.input_contract import InputContract, SourceTarget
from medfuse.config import SourceConfig
from medfuse.contract import BackboneSpec, WeightsSpec
from medfuse.registry.references import SourceReference


@dataclass(frozen=True)
class Draft:
    """What is known of a source before it is built."""

    config: SourceConfig
    target: SourceTarget
    reference: SourceReference
    plugin: str
    spec: BackboneSpec
    weights: WeightsSpec | None
    contract: InputContract


@dataclass(frozen=True)
class Shaped:
    """A backbone as its source runs it: perhaps cut, perhaps read at several levels.

    Attributes:
        backbone: the network.
        spec: its description, with the stages where they lie now.
        cut: keywords of `CutBackbone`, or ``None``.
        levels: keywords of `LevelsBackbone`, or ``None``.
        resolutions: how many give features.
    """

    backbone: nn.Module
    spec: BackboneSpec
    cut: dict[str, Any] | None
    levels: dict[str, Any] | None = None
    resolutions: int = 1

    def pooling(self, tokens: bool) -> str:
        """Return the keyword of `Source`."""
        if tokens:
            return "grid"
        return "native" if self.spec.native_pooling else "average"


@dataclass(frozen=True)
class Loaded:
    """Weights as they were loaded.

    Attributes:
        digest: of the tensors as the network holds them; see `weights_digest`.
        file: where they come from.
        sha256: of the file.
        left_out: keys of the file that are not used.
        container: part of the file that they lie in.
        remap: prefixes of keys that were rewritten for this source, old to new.
        key_format: name of the format that ``remap`` was found by; ``""`` where it was given.
        checked: whose digest the file has: ``publisher``, ``configuration``, that of its
            ``first use``, or ``""`` where there was none to compare with.
        stem: how the first layer was changed for other channels; ``""`` where it was not.
    """

    digest: str
    file: Path | None = None
    sha256: str | None = None
    left_out: tuple[str, ...] = ()
    container: str = ""
    remap: Mapping[str, str] = field(default_factory=dict)
    key_format: str = ""
    checked: str = ""
    stem: str = ""
