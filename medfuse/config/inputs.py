"""How one kind of file becomes what the networks see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from medfuse.config.columns import Column, checked_columns
from medfuse.config.kinds import Says
from medfuse.config.section import Section
from medfuse.config.windows import WINDOWS
from medfuse.errors import ConfigError
from medfuse.suggest import did_you_mean

Axes = Literal["LR", "AP", "SI"]

_SIZE = Says("auto | [rows, columns] | [rows, columns, slices]")
_ORIENTATION = Says("three letters, one each of LR, AP and SI")
_SPACING = Says("auto | none | [mm, mm, mm]")
_WINDOWS = Says("list of up to 8 names or [low, high]")
_OTHER_DEPTHS = Says("refuse | percentile | name of a window | [low, high]")
_COLUMNS = Says("mapping of a column to number or category")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size(value: object) -> object:
    if value == "auto":
        return value
    numbers = list(value) if isinstance(value, list | tuple) else []
    good = all(isinstance(n, int) and not isinstance(n, bool) and 8 <= n <= 4096 for n in numbers)
    if not good or len(numbers) not in (2, 3):
        raise ValueError(
            f"found {value}, expected auto, [rows, columns] or [rows, columns, slices], "
            "each from 8 to 4096"
        )
    return tuple(numbers)


def _spacing(value: object) -> object:
    if value in ("auto", "none"):
        return value
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) != 3 or not all(_number(n) and 0.01 <= n <= 100 for n in numbers):
        raise ValueError(
            f"found {value}, expected auto, none, or three numbers from 0.01 to 100 mm"
        )
    return tuple(float(n) for n in numbers)


def _orientation(value: object) -> object:
    pairs = get_args(Axes)
    places = [next((i for i, p in enumerate(pairs) if c in p), -1) for c in str(value)]
    if not isinstance(value, str) or sorted(places) != [0, 1, 2]:
        raise ValueError("expected three letters, one each of LR, AP and SI, as in PLS")
    return value


def _windows(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of names or [low, high]")
    return tuple(_one_window(one) for one in value)


def _one_window(value: object) -> object:
    if isinstance(value, str):
        if value not in WINDOWS:
            known = f"expected one of {', '.join(WINDOWS)} or [low, high]"
            raise ValueError(f"{value!r} is no window, {known}.{did_you_mean(value, WINDOWS)}")
        return value
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) != 2 or not all(_number(n) for n in numbers) or numbers[0] >= numbers[1]:
        raise ValueError(f"{value} is no window, expected [low, high], low below high")
    return tuple(float(n) for n in numbers)


def _other_depths(value: object) -> object:
    return value if value in ("refuse", "percentile") else _one_window(value)


class InputConfig(Section):
    """How a file becomes the canonical image; ``auto`` is resolved from the cohort.

    What a key means, and which ones an image, a volume or a table has, is in
    ``docs/preprocessing.md``.
    """

    kind: Literal["auto", "image", "volume", "tabular"] = "auto"
    modality: Literal["auto", "XR", "CT", "MR", "other"] = "auto"
    channels: int = Field(1, ge=1, le=8)
    size: Annotated[Literal["auto"] | tuple[int, ...], BeforeValidator(_size), _SIZE] = "auto"
    fit: Literal["auto", "stretch", "letterbox"] = "auto"
    orientation: Annotated[str, BeforeValidator(_orientation), _ORIENTATION] = "PLS"
    spacing: Annotated[
        Literal["auto", "none"] | tuple[float, float, float], BeforeValidator(_spacing), _SPACING
    ] = "auto"
    crop: Literal["none", "foreground"] = "none"
    bias_field: Literal["none", "n4"] = "none"
    intensity: Literal["auto", "range", "percentile", "zscore", "window"] = "auto"
    foreground: Literal["auto"] | bool = "auto"
    percentiles: tuple[float, float] = (0.5, 99.5)
    window: tuple[float, float] | None = None
    windows: Annotated[
        tuple[str | tuple[float, float], ...],
        BeforeValidator(_windows),
        Field(max_length=8),
        _WINDOWS,
    ] = ()
    other_depths: Annotated[
        str | tuple[float, float], BeforeValidator(_other_depths), _OTHER_DEPTHS
    ] = "refuse"
    columns: Annotated[dict[str, Column], BeforeValidator(checked_columns), _COLUMNS] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of the canonical image: ``(H, W)``, or ``(H, W, D)`` of a volume.

        Raises:
            ConfigError: ``size`` is still ``auto``.
        """
        if isinstance(self.size, str):
            raise ConfigError("inputs: size is auto, expected a resolved value (resolve_input).")
        return self.size

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Low and high of each window, in stored units; empty without one."""
        if self.window is not None:
            return (self.window,)
        return tuple(WINDOWS[w] if isinstance(w, str) else w for w in self.windows)

    @property
    def rendered_window(self) -> tuple[float, float] | None:
        """Bounds of CT of another bit depth than in training, in HU; ``None`` without them."""
        if isinstance(self.other_depths, str):
            return WINDOWS.get(self.other_depths)
        return self.other_depths

    @model_validator(mode="before")
    @classmethod
    def _a_channel_for_each_window(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "channels" in data:
            return data
        windows = data.get("windows")
        several = isinstance(windows, Sequence) and not isinstance(windows, str)
        return {**data, "channels": len(windows)} if several and windows else data

    @model_validator(mode="after")
    def _columns_are_of_a_table(self) -> InputConfig:
        if (self.kind == "tabular") != bool(self.columns):
            raise ValueError("kind: tabular needs columns: {NAME: number}, and only it")
        return self

    @model_validator(mode="after")
    def _depths_are_of_an_image(self) -> InputConfig:
        if self.other_depths != "refuse" and (
            self.kind not in ("auto", "image") or self.intensity not in ("auto", "range")
        ):
            raise ValueError(
                "other_depths says what becomes of images of another bit depth with intensity: "
                "range, expected kind: image (or auto) and intensity: range (or auto)"
            )
        return self

    @model_validator(mode="after")
    def _window_has_bounds(self) -> InputConfig:
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ValueError(f"window is {list(self.window)}, expected [low, high], low below high")
        if self.window is not None and self.windows:
            raise ValueError("window and windows both say it, expected one of the two")
        if self.intensity == "window" and not self.bounds:
            raise ValueError("intensity: window needs window: [low, high], or windows")
        if self.bounds and self.intensity not in ("auto", "window"):
            raise ValueError(f"intensity is {self.intensity}, but window needs intensity: window")
        if len(self.windows) > 1 and self.channels != len(self.windows):
            raise ValueError(
                f"channels is {self.channels}, expected {len(self.windows)}, one for each window"
            )
        return self

    @model_validator(mode="after")
    def _percentiles_are_a_range(self) -> InputConfig:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(
                f"percentiles are {[low, high]}, expected [low, high] in 0 to 100, low below high"
            )
        return self

    @model_validator(mode="after")
    def _geometry_fits_the_kind(self) -> InputConfig:
        numbers = {"image": 2, "volume": 3}.get(self.kind)
        flat = self.kind == "image" or len(self.size) == 2
        if numbers and self.size != "auto" and len(self.size) != numbers:
            raise ValueError(
                f"size has {len(self.size)} numbers, expected {numbers} for kind: {self.kind}"
            )
        if flat and isinstance(self.spacing, tuple):
            raise ValueError("spacing has three numbers, but an image has none; expected a volume")
        if flat and self.bias_field != "none":
            raise ValueError("bias_field corrects volumes, but this input is an image")
        return self
