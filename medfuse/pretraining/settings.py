"""Everything that decides the result of one pretraining; an unknown key is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medfuse.config import InputConfig, Section
from medfuse.config.kinds import Matches, Says
from medfuse.config.loading import validated

_LICENSE = Matches("SPDX expression", r"[A-Za-z0-9.+() -]+")


class ViewSettings(Section):
    """How far views of an image differ; see `medfuse.pretraining.views`.

    No left-right flip by default: in a chest or a brain the side of a finding is part of it.
    """

    crop: tuple[float, float] = (0.2, 1.0)
    rotate: float = Field(15.0, ge=0, le=180)
    flip: Literal["none", "left_right", "all"] = "none"
    gamma: float = Field(2.0, ge=1)
    contrast: float = Field(0.4, ge=0, lt=1)
    brightness: float = Field(0.2, ge=0, lt=1)
    blur: float = Field(0.3, ge=0, le=1)
    noise: float = Field(0.05, ge=0, lt=1)

    @model_validator(mode="after")
    def _crop_is_a_range(self) -> ViewSettings:
        low, high = self.crop
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop is {[low, high]}, expected [low, high], 0 < low <= high <= 1")
        return self


class PretrainingSettings(Section):
    """How a backbone learns from images.

    The network sees views of ``size``, drawn from images of ``image_size``, half as large again
    if ``None``: a crop shows things larger than they are in the whole image (Touvron et al. 2019,
    arXiv:1906.06423), which is what the weights are for.
    """

    backbone: Annotated[str, Says("plugin:name")]
    options: dict[str, Any] = {}
    init: str | None = None
    method: Literal["auto", "simclr", "mae", "supervised"] = "auto"
    size: int = Field(64, ge=8, le=4096)
    image_size: int | None = Field(None, ge=8, le=4096)
    input: InputConfig = InputConfig()
    views: ViewSettings = ViewSettings()
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(128, ge=2)
    lr: float | None = Field(None, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    temperature: float = Field(0.2, gt=0)
    projection: int = Field(64, ge=2)
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    decoder_width: int = Field(192, ge=12, multiple_of=12)
    decoder_depth: int = Field(2, ge=1)
    validation: float = Field(0.1, gt=0, lt=1)
    seed: int = Field(0, ge=0, lt=2**32)
    device: Annotated[str, Says("auto | cpu | cuda | cuda:N")] = "auto"
    mixed_precision: bool = False
    memory_gb: float = Field(2.0, gt=0)
    license: Annotated[str, _LICENSE] = "LicenseRef-unknown"

    @property
    def highest_lr(self) -> float:
        """Learning rate at its highest: as given, or what suits the method."""
        return self.lr or (5e-4 if self.method == "mae" else 2e-3)

    @property
    def stored_size(self) -> int:
        """Side of the images that views are drawn from."""
        return self.image_size or self.size * 3 // 2


def parse_settings(
    data: Mapping[str, Any], where: str = "command line", overrides: Sequence[str] = ()
) -> PretrainingSettings:
    """Return the settings that plain data describe.

    Args:
        data: nested mappings and lists.
        where: they come from, for error texts.
        overrides: each ``key.key=value`` to put into them.

    Raises:
        ConfigError: a bad key or value, named with its place and the nearest known key.
    """
    return validated(PretrainingSettings, data, where, overrides)
