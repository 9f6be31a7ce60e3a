"""Where the cases come from, how they are divided, and the views of their images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfuse.config.fields import Integer, Seed
from medfuse.config.kinds import Says
from medfuse.config.section import Section


class SplitConfig(Section):
    """How cases without a given role are divided; fractions of all cases, by patient."""

    test: float = Field(0.2, ge=0, lt=1)
    validation: float = Field(0.15, ge=0, lt=1)
    calibration: float = Field(0.0, ge=0, lt=1)
    folds: int | None = Field(None, ge=2)
    fold: int = Field(0, ge=0)
    repeats: int = Field(1, ge=1, le=100)
    repeat: int = Field(0, ge=0)
    hold_out_site: str | None = None
    seed: Integer = 0

    @model_validator(mode="after")
    def _fold_is_one_of_folds(self) -> SplitConfig:
        for name, given in (("fold", self.fold), ("repeat", self.repeat)):
            if given and self.folds is None:
                raise ValueError(f"{name} is {given}, expected folds beside it")
        if self.repeats > 1 and self.folds is None:
            raise ValueError(f"repeats is {self.repeats}, expected folds beside it")
        if self.hold_out_site is not None and self.folds is not None:
            raise ValueError("hold_out_site and folds both say what is tested, expected one")
        return self


class CohortConfig(Section):
    """Where the cases are and what groups them.

    Several columns in ``label``, or one whose cells name several labels divided by
    ``label_separator``, make a cohort of several labels per case. ``uncertain`` says what -1
    in a cell of such a column means.
    """

    path: str
    label: Annotated[str | list[str], Says("text | list of text, at least 2")] = "label"
    label_separator: str | None = Field(None, min_length=1)
    uncertain: Literal["unknown", "positive", "negative"] = "unknown"
    group: str | None = None
    group_pattern: str | None = None
    classes: list[str] | None = None
    on_leak: Literal["refuse", "drop_from_training"] = "refuse"
    on_bad_image: Literal["refuse", "skip"] = "refuse"
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _several_labels_are_told_in_one_way(self) -> CohortConfig:
        if isinstance(self.label, str):
            return self
        if len(self.label) < 2 or len(set(self.label)) < len(self.label):
            raise ValueError(
                f"label lists {', '.join(self.label) or 'nothing'}, expected at least two "
                "different columns; the column of a single class stands alone, without brackets"
            )
        for key, given in (("classes", self.classes), ("label_separator", self.label_separator)):
            if given is not None:
                raise ValueError(f"label lists columns, which name the labels; remove {key}")
        return self

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns that say what a case is."""
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)


class AugmentationConfig(Section):
    """Banked views of each training image beside the clean one.

    ``seed`` is apart from the experiment's, so that runs of several seeds share banked views.
    ``rotate`` (degrees), ``shift`` and ``zoom`` (fractions), ``gamma`` (a factor) and ``noise``
    (standard deviation) replace the recipe's ranges. ``flip`` mirrors every second view; only
    where no label has a side.
    """

    views: int = Field(0, ge=0, le=100)
    seed: Seed = 0
    recipe: Literal["auto", "none", "xr", "ct", "mr"] = "auto"
    rotate: float | None = Field(None, ge=0, le=180)
    shift: float | None = Field(None, ge=0, le=0.5)
    zoom: float | None = Field(None, ge=0, le=0.5)
    gamma: float | None = Field(None, ge=1, le=5)
    noise: float | None = Field(None, ge=0, le=0.5)
    flip: list[Literal["left_right", "up_down"]] = []

    @model_validator(mode="after")
    def _a_recipe_has_ranges(self) -> AugmentationConfig:
        if len(set(self.flip)) < len(self.flip):
            raise ValueError(f"flip is {self.flip}, expected each direction once")
        names = ("rotate", "shift", "zoom", "gamma", "noise")
        own = [name for name in (*names, "flip") if getattr(self, name) not in (None, [])]
        if self.recipe == "none" and own:
            raise ValueError(f"recipe none has no views, but found {', '.join(own)}")
        return self
