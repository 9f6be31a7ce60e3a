"""Which sources that learn have a frozen part, and of which its activations are banked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from medfuse.backbones.border import Border, LowerPart, find_border
from medfuse.backbones.build import BuiltSource
from medfuse.backbones.source import selected_modules
from medfuse.backbones.stages import trainable_paths
from medfuse.config import BankConfig, SourceConfig
from medfuse.features.sizes import readable
from medfuse.memory import memory_size

_FLOAT = 4
_GIGABYTE = 1_000_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrozenPart:
    """The frozen part of a source that learns, as a source of its own for the bank.

    Attributes:
        whole: the source.
        border: where its frozen part ends.
    """

    whole: BuiltSource
    border: Border
    as_in_training: ClassVar[bool] = True

    @property
    def label(self) -> str:
        """Display name."""
        stages = self.whole.spec.stages if self.whole.spec else ()
        paths = {f"backbone.{stage.module_path}": stage.name for stage in stages}
        return f"{self.whole.label} up to {paths[self.border.path]}"

    @property
    def feature_dim(self) -> int:
        """Numbers in one activation."""
        return self.border.width

    @property
    def tokens(self) -> int:
        """None: an activation is kept as one row."""
        return 0

    @property
    def slices(self) -> int:
        """Slices of a volume, as of the whole source."""
        return self.whole.slices

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides an activation."""
        return {**self.whole.identity, "border": [self.border.path, *self.border.shape]}

    @property
    def extractor(self) -> nn.Module:
        """What the bank runs."""
        source: Any = self.whole.extractor
        return LowerPart(source, self.border).eval()


@dataclass(frozen=True)
class BorderPlan:
    """What decides of which frozen parts the activations are held.

    Attributes:
        bank: the section of the configuration.
        cases: number of cases.
        views: views of each, the clean one included.
    """

    bank: BankConfig
    cases: int
    views: int

    def banked(self, parts: Mapping[int, FrozenPart]) -> dict[int, FrozenPart]:
        """Return the frozen parts whose activations are held.

        Where they take too much room, images go through the frozen part in every epoch, and the
        log says so.
        """
        found: dict[int, FrozenPart] = {}
        left = self._room()
        for number, part in parts.items() if self.bank.activations else ():
            size = self.cases * self.views * (part.slices or 1) * part.feature_dim * _FLOAT
            if size > left:
                _say_too_large(part, size, left)
                continue
            _log.info(
                "%s: computed once, %d cases x %d views x %s = %s; what lies above learns from it",
                part.label, self.cases, self.views, readable(size / self.cases / self.views),
                readable(size),
            )  # fmt: skip
            found[number], left = part, left - size
        return found

    def _room(self) -> float:
        """Return how many bytes of activations may be held: they lie in memory while learning."""
        return min(self.bank.budget_gb * _GIGABYTE, memory_size() / 3)


def frozen_parts(
    configs: Sequence[SourceConfig], sources: Sequence[BuiltSource]
) -> dict[int, FrozenPart]:
    """Return the frozen parts of sources that learn above one, by number of the source.

    Of a source that cannot be divided images go through all of it, and the log says so.
    """
    parts = {
        number: _frozen_part(config, source)
        for number, (config, source) in enumerate(zip(configs, sources, strict=True))
    }
    return {number: part for number, part in parts.items() if part is not None}


def _frozen_part(config: SourceConfig, source: BuiltSource) -> FrozenPart | None:
    """Return the frozen part of a source that learns above it, or ``None``."""
    if source.spec is None or not config.learns:
        return None
    policies = [config.train, *(step.train for step in config.unfreeze)]
    module: Any = source.extractor
    learning: frozenset[str] = frozenset()
    for policy in policies:
        learning |= selected_modules(module.backbone, trainable_paths(source.spec, policy))
    if "" in learning:
        return None
    stages = [stage.module_path for stage in source.spec.stages]
    border = find_border(module, stages, learning, source.image)
    if border is None:
        _log.info(
            "source %s: its frozen part cannot be divided from the rest, so images go through all "
            "of it in every epoch",
            source.label,
        )
        return None
    return FrozenPart(source, border)


def _say_too_large(part: FrozenPart, size: float, left: float) -> None:
    _log.warning(
        "%s: its activations would take %s, but %s are left of bank.budget_gb and a third of the "
        "memory; images go through it in every epoch instead",
        part.label, readable(size), readable(left),
    )  # fmt: skip
