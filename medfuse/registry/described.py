"""Weights that describe themselves: a ``source.json`` beside them says what they are.

`medfuse pretrain` writes it. A folder that holds one can be named as a source, and weights named
behind ``@`` get the contract, license and list of seen images of the ``source.json`` beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from medfuse.contract import Normalization, WeightsSpec
from medfuse.errors import SourceError
from medfuse.suggest import did_you_mean

DESCRIPTION = "source.json"
WEIGHTS = "weights.safetensors"

# What constructors of networks take to read files or use the network: never by a description.
_FETCHING = frozenset(
    {"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"}
    | {"pretrained_strict", "weights", "weights_backbone"}
)


def _harmless(options: dict[str, Any]) -> dict[str, Any]:
    found = sorted(_FETCHING & options.keys())
    if found:
        raise ValueError(f"found {found[0]!r}, which reads other files, expected none such")
    return options


PlainOptions = Annotated[dict[str, Any], AfterValidator(_harmless)]
"""Options of a network that a description may name: none that makes it read files."""

_Name = Annotated[str, Field(pattern=r"^[^/\\]+$")]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Mark(_Part):
    kind: Literal["source"] = "source"
    version: Literal[1] = 1


class InputRange(_Part):
    """The input contract of the weights; see `medfuse.contract.Normalization`."""

    input_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    scheme: Literal["fixed", "per_image"] = "fixed"

    @field_validator("input_range")
    @classmethod
    def _rises(cls, found: tuple[float, float]) -> tuple[float, float]:
        if found[0] >= found[1]:
            raise ValueError(f"found {list(found)}, expected [low, high], low below high")
        return found


class SourceDescription(_Part):
    """What weights in a folder are; the meaning of a field is that of `WeightsSpec`.

    Attributes:
        backbone: ``plugin:name`` of the network that they fit.
        options: of that network, which a configuration may add to.
        weights: name of the file beside this one.
        seen: name of the list of images that they were trained on, beside this file.
    """

    medfuse: _Mark = _Mark()
    name: str
    backbone: str
    options: PlainOptions = {}
    weights: _Name = WEIGHTS
    sha256: _Digest
    source_domain: str = "unknown"
    training_data: tuple[str, ...] = ()
    normalization: InputRange = InputRange()
    input_size: tuple[Annotated[int, Field(ge=1, le=4096)], ...]
    size_policy: str = "any"
    interpolation: Literal["nearest", "bilinear", "bicubic", "trilinear"] = "bilinear"
    color_order: Literal["RGB", "BGR"] = "RGB"
    license: str = "LicenseRef-unknown"
    citation: str = ""
    seen: _Name | None = None
    remap: dict[str, str] = {}

    def spec(self, folder: Path) -> WeightsSpec:
        """Return the description as the registry has it, with the files of ``folder``."""
        return WeightsSpec(
            name=self.name,
            source_domain=self.source_domain,
            training_data=self.training_data,
            normalization=Normalization(**self.normalization.model_dump()),
            input_size=self.input_size,
            size_policy=self.size_policy,
            interpolation=self.interpolation,
            color_order=self.color_order,
            license=self.license,
            sha256=self.sha256,
            path=str(folder / self.weights),
            citation=self.citation,
            seen=str((folder / self.seen).resolve()) if self.seen else None,
            remap=self.remap,
        )


@dataclass(frozen=True)
class Described:
    """What is said of weights that describe themselves.

    Attributes:
        backbone: ``plugin:name`` of the network that they fit.
        weights: the description as the registry has it, with the file's path.
        options: of that network, which a configuration may add to.
        cut: module at which the network ends in the file; ``None`` for a whole one.
        use: how a configuration names them, where it is not ``plugin:name@FILE``.
        label: what stands for the file in names of sources; empty for the file's own name.
        learners: who of those in the list of seen images has trained these weights; all if empty.
        earlier: where they come from, for the model card: one more step of a chain.
    """

    backbone: str
    weights: WeightsSpec
    options: Mapping[str, Any] = field(default_factory=dict)
    cut: str | None = None
    use: str = ""
    label: str = ""
    learners: tuple[str, ...] = ()
    earlier: Mapping[str, Any] = field(default_factory=dict)


def is_source_folder(text: str) -> bool:
    """Return whether a text names a folder with a description in it."""
    try:
        return (Path(text).expanduser() / DESCRIPTION).is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def read_description(folder: Path) -> SourceDescription:
    """Return the description in a folder.

    Raises:
        SourceError: it cannot be read, or holds an unknown key or a bad value.
    """
    file = folder / DESCRIPTION
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{file}: cannot be read as JSON. Pretrain again, or mend it.") from error
    try:
        return SourceDescription.model_validate(data)
    except ValidationError as error:
        raise SourceError(f"{file}: {_problem(error)}") from error


def described_in(folder: Path) -> Described:
    """Return what is said of the weights in a folder.

    Raises:
        SourceError: the description cannot be used.
    """
    found = read_description(folder)
    return Described(found.backbone, found.spec(folder), found.options)


def described_beside(file: str | None) -> Described | None:
    """Return what is said of a weights file by the description beside it, if there is one.

    A description of another file in the same folder is not of this one.

    Raises:
        SourceError: the description cannot be used.
    """
    if file is None:
        return None
    path = Path(file).expanduser()
    if not is_source_folder(str(path.parent)):
        return None
    found = described_in(path.parent)
    return found if Path(found.weights.path or "").name == path.name else None


def _problem(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = list(SourceDescription.model_fields)
        return f"unknown key {place!r}.{did_you_mean(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"{place!r} is missing."
    return f"{place or 'the file'}: {first['msg'][:1].lower()}{first['msg'][1:]}."
