"""The pretrained networks of an experiment, and what of them learns."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from medfuse.config.fields import Integer, License, listed, named
from medfuse.config.kinds import Matches, Says
from medfuse.config.section import Section


def _policy(value: object) -> object:
    """Return ``from:layer3`` for ``{from: layer3}``."""
    if isinstance(value, dict) and len(value) == 1:
        return ":".join(str(part) for part in next(iter(value.items())))
    return value


_LATER = Matches(
    "all | last:N (N from 1 on) | from:STAGE", r"all|last:[1-9]\d*|from:[A-Za-z0-9_.]+"
)
_LEARNS = Matches(
    "frozen | all | scratch | last:N (N from 1 on) | from:STAGE",
    r"frozen|all|scratch|last:[1-9]\d*|from:[A-Za-z0-9_.]+",
)
AUTO_REMAP = "auto"
_REMAP = Says("mapping | auto | lightning | moco | dino | mae | simclr | clip")
_KeyFormat = Literal["auto", "lightning", "moco", "dino", "mae", "simclr", "clip"]


class NormalizationConfig(Section):
    """Replaces the input contract that the weights declare."""

    input_range: tuple[float, float] = (0.0, 1.0)
    mean: list[float] = [0.0]
    std: list[Annotated[float, Field(gt=0)]] = [1.0]
    scheme: Literal["fixed", "per_image"] = "fixed"

    @model_validator(mode="after")
    def _channels_match(self) -> NormalizationConfig:
        found = (len(self.mean), len(self.std))
        if found not in ((1, 1), (3, 3)):
            raise ValueError(
                f"mean and std have {found[0]} and {found[1]} numbers, expected 1 or 3 of each"
            )
        if self.input_range[0] >= self.input_range[1]:
            raise ValueError(
                f"input_range is {list(self.input_range)}, expected [low, high], low below high"
            )
        return self


class UnfreezeConfig(Section):
    """Head first, then more: from epoch ``after`` on, ``train`` holds."""

    after: int = Field(ge=1)
    train: Annotated[str, BeforeValidator(_policy), _LATER] = "last:1"
    lr_scale: float = Field(0.1, gt=0)


class AdapterConfig(Section):
    """Low-rank adapters: they learn in the place of the weights that ``train`` names."""

    rank: Integer = Field(8, ge=1, le=1024)
    alpha: float = Field(16.0, gt=0)
    targets: Annotated[
        Literal["auto", "all"] | list[Annotated[str, Field(min_length=1)]],
        Says("auto | all | list of text"),
    ] = "auto"


class SourceConfig(Section):
    """One pretrained network. ``use`` is ``plugin:name.weights`` or ``plugin:name@FILE``;
    ``bundle:PATH`` stands for those in a bundle.

    ``lr_scale`` is of what learns from the first epoch, by default 0.1, and 1 from scratch or of
    an adapter.
    ``lr_decay`` is of each stage beside the one above it. ``batch_norm`` says what of it moves
    where a source learns: all, scale and shift alone (``affine``), or nothing.
    ``levels`` is how many resolutions give features, 1 the network's own vector alone. ``remap``
    renames the keys of the file: prefixes, old to new, or a format of checkpoints.
    ``license`` (SPDX) states the license of a file of one's own, which nothing else tells.
    """

    use: Annotated[str, Says("plugin:name.weights | plugin:name@FILE | bundle:PATH | tabular")]
    options: dict[str, Any] = {}
    input: str = "image"
    train: Annotated[str, BeforeValidator(_policy), _LEARNS] = "frozen"
    unfreeze: Annotated[
        list[UnfreezeConfig], BeforeValidator(listed), Says("section | list of sections")
    ] = []
    lr_scale: float | None = Field(None, gt=0)
    lr_decay: float = Field(1.0, gt=0, le=1)
    batch_norm: Literal["train", "affine", "frozen"] = "train"
    adapter: AdapterConfig | None = None
    cut: str | None = None
    levels: Literal["auto"] | Annotated[Integer, Field(ge=1, le=9)] = "auto"
    input_size: tuple[Annotated[int, Field(ge=1, le=4096)], ...] | None = None
    normalization: NormalizationConfig | None = None
    remap: Annotated[_KeyFormat | dict[str, str], _REMAP] = {}
    sha256: Annotated[str, Matches("64 hexadecimal digits", r"[0-9a-f]{64}")] | None = None
    license: License | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone(cls, data: Any) -> Any:
        return named(data)

    @model_validator(mode="after")
    def _steps_follow_each_other(self) -> SourceConfig:
        epochs = [step.after for step in self.unfreeze]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"unfreeze has steps after {epochs}, expected rising epochs")
        if self.unfreeze and self.train == "scratch":
            raise ValueError("unfreeze stands beside train: scratch, where everything learns")
        return self

    @model_validator(mode="after")
    def _an_adapter_learns_somewhere(self) -> SourceConfig:
        if self.adapter is not None and (not self.learns or self.train == "scratch"):
            raise ValueError(
                f"adapter stands beside train: {self.train}, expected last:N, from:STAGE or all: "
                "where it learns"
            )
        return self

    @property
    def learns(self) -> bool:
        """Whether any of it learns at some time."""
        return self.train != "frozen" or bool(self.unfreeze)

    @property
    def first_lr_scale(self) -> float:
        """Factor on the learning rate of what learns from the first epoch."""
        if self.lr_scale is not None:
            return self.lr_scale
        return 1.0 if self.train == "scratch" or self.adapter else 0.1
