"""What is measured, and when a model gives no answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from medfuse.config.fields import listed
from medfuse.config.kinds import Says
from medfuse.config.section import Section
from medfuse.config.subgroups import Subgroup, parse_subgroup


def _subgroup(text: str) -> str:
    parse_subgroup(text)
    return text


_Subgroup = Annotated[str, Says("column or column:CUT:CUT"), AfterValidator(_subgroup)]


class AbstainConfig(Section):
    """When a model gives no answer; see ``docs/trust.md``.

    ``acceptance`` is the share of like cases that stay within the limits of the feature distances.
    ``confidence`` is the least probability of the predicted class, ``largest_set`` the most
    classes that may remain; 0 asks for neither. ``coverage`` is that of the sets of classes that
    cannot be ruled out, ``per_class`` holds it for the cases of every class.
    """

    out_of_distribution: bool = True
    acceptance: float = Field(0.95, gt=0, lt=1)
    confidence: float = Field(0.0, ge=0, lt=1)
    largest_set: int = Field(0, ge=0)
    sets: Literal["lac", "aps", "none"] = "lac"
    coverage: float = Field(0.9, gt=0, lt=1)
    per_class: bool = False

    @model_validator(mode="after")
    def _sets_that_are_made(self) -> AbstainConfig:
        if self.largest_set and self.sets == "none":
            raise ValueError(f"largest_set is {self.largest_set}, but sets is none")
        return self


class EvaluationConfig(Section):
    """What is measured on the test cases.

    ``metrics`` gives options to metrics of plugins, by the name they report. Sites and patterns of
    inputs with fewer than ``minimum_cases`` test cases are counted, not measured, and so are the
    groups of ``subgroups``: columns of the cohort, those of numbers cut into bands. ``threshold``
    is the probability from which on one of several labels per case holds; ``youden`` chooses one
    for each label on cases held out of training.
    """

    bootstrap: int = Field(1000, ge=0)
    confidence: float = Field(0.95, gt=0, lt=1)
    minimum_cases: int = Field(10, ge=2)
    calibrate: Literal["temperature", "dirichlet", "isotonic", "auto", "none"] = "temperature"
    abstain: AbstainConfig = AbstainConfig()
    baselines: bool = True
    metrics: dict[str, dict[str, Any]] = {}
    threshold: Literal["youden"] | Annotated[float, Field(gt=0, lt=1)] = "youden"
    subgroups: Annotated[list[_Subgroup], BeforeValidator(listed)] = []

    @model_validator(mode="after")
    def _subgroups_differ(self) -> EvaluationConfig:
        columns = [group.column for group in self.groups]
        twice = [column for column in columns if columns.count(column) > 1]
        if twice:
            raise ValueError(f"subgroups has {twice[0]!r} twice, expected each column once")
        return self

    @property
    def groups(self) -> tuple[Subgroup, ...]:
        """The subgroups, read."""
        return tuple(map(parse_subgroup, self.subgroups))
