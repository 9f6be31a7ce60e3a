"""What one experiment consists of; an unknown key is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medfuse.config.cohort import AugmentationConfig, CohortConfig
from medfuse.config.evaluation import EvaluationConfig
from medfuse.config.fields import License, Seed, named
from medfuse.config.inputs import InputConfig
from medfuse.config.kinds import Matches, Says
from medfuse.config.section import Section
from medfuse.config.sources import SourceConfig
from medfuse.storage import digest_of

_NAME = Matches(
    "up to 64 letters, digits, - and _, a letter or digit first", r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
)
_COMPONENT = Says("name | {use: name, option: value}")
_Weight = Annotated[float, Field(gt=0)]
_Positive = Annotated[int, Field(ge=1)] | Literal["auto"]
_POSITIVE = Says("auto | int, 1 or more")
_Delta = Annotated[float, Field(ge=0)] | Literal["auto"]
_Decay = Annotated[float, Field(ge=0, lt=1)] | Literal["auto"]


class ComponentConfig(BaseModel):
    """A fusion or a head: ``use`` names it, every other key is an option of its own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone(cls, data: Any) -> Any:
        return named(data)

    @property
    def options(self) -> dict[str, Any]:
        """The component's own options."""
        return dict(self.model_extra or {})


class EarlyStoppingConfig(Section):
    """Stop when the validation loss has not fallen by ``min_delta`` for ``patience`` epochs.

    By themselves they are 7, or 10 where a source learns, and 0.001; of one network alone that is a
    mean over epochs (``training.ema_decay``) 5 and 0.005.
    """

    patience: Annotated[_Positive, _POSITIVE] = "auto"
    min_delta: Annotated[_Delta, Says("auto | float, 0 or more")] = "auto"


class TrainingConfig(Section):
    """How the head (and what is not frozen) learns.

    The defaults were chosen on folds of unlike cases; see ``docs/training.md``. ``batch_size`` is
    by itself a tenth of the cases, 32 to 128, and 32 where a source learns. ``ema_decay`` is how
    much the mean over the epochs before counts beside each epoch's network; it is that mean which
    is kept. By itself it is 0.5 for one network alone on frozen sources, else 0, no mean.
    """

    members: int = Field(5, ge=1, le=20)
    source_heads: bool = True
    epochs: int = Field(50, ge=1)
    batch_size: Annotated[_Positive, _POSITIVE] = "auto"
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    source_weight_decay: float = Field(1e-4, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    schedule: Literal["constant", "cosine", "step", "plateau"] = "cosine"
    loss: Literal["auto", "cross_entropy", "focal", "coral"] = "auto"
    focal_gamma: float = Field(2.0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    mixup: float = Field(0.0, ge=0)
    input_dropout: float = Field(0.2, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] | list[_Weight] = "none"
    sampler: Literal["shuffle", "oversample"] = "shuffle"
    clip_gradient: float | None = Field(None, gt=0)
    ema_decay: Annotated[_Decay, Says("auto | float, 0 to below 1")] = "auto"
    early_stopping: EarlyStoppingConfig | None = EarlyStoppingConfig()
    mixed_precision: bool = False
    device: Annotated[str, Says("auto | cpu | cuda | cuda:N")] = "auto"


class AdaptationConfig(Section):
    """Images without labels, of where the model is meant to work, and how to adapt to them."""

    method: Literal["coral", "standardize", "adabn"]
    target: str = Field(min_length=1)


class BankConfig(Section):
    """Where features are kept, and how much room they may take.

    ``activations`` keeps what the frozen part of a source that learns gives, too. ``engine`` says
    which library computes features on a processor.
    """

    path: str | None = None
    budget_gb: float = Field(8.0, gt=0)
    activations: bool = True
    engine: Literal["auto", "torch", "openvino", "onnxruntime"] = "auto"


class CodeConfig(Section):
    """What a class is in a coding scheme: ``{value: "111286", scheme: DCM, meaning: ...}``."""

    value: str = Field(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f\x7f]+$")
    scheme: str = Field(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f\x7f]+$")
    meaning: str = Field(min_length=1, max_length=64, pattern=r"^[^\\\x00-\x1f\x7f]+$")


class BundleConfig(Section):
    """What a bundle says of itself.

    ``license`` (SPDX) may be stricter than that of the sources, never freer. ``data`` says what the
    training data are, whose, and under which terms; ``references`` name the papers to cite.
    ``accept_licenses`` names those (SPDX) that restrict the use of weights, and that you keep to.
    ``codes`` are those of classes in DICOM reports, by class name.
    Without ``graphs`` the bundle has no ``model.ts`` and no ``model.onnx``: a third of its size.
    """

    authors: str = Field("Not named.", min_length=1)
    copyright: str | None = Field(None, min_length=1)
    license: License | None = None
    accept_licenses: tuple[License, ...] = ()
    description: str | None = Field(None, min_length=1)
    data: str | None = Field(None, min_length=1)
    references: tuple[str, ...] = ()
    codes: dict[str, CodeConfig] = {}
    graphs: bool = True


class Experiment(Section):
    """Everything that decides the result of one run."""

    schema_version: Literal[1] = 1
    name: Annotated[str, _NAME] = "model"
    seed: Seed = 0
    cohort: CohortConfig
    inputs: dict[str, InputConfig] = {"image": InputConfig()}
    augmentation: AugmentationConfig = AugmentationConfig()
    adaptation: AdaptationConfig | None = None
    sources: list[SourceConfig] = Field(min_length=1)
    fusion: Annotated[ComponentConfig, _COMPONENT] = ComponentConfig(use="attention")
    head: Annotated[ComponentConfig, _COMPONENT] = ComponentConfig(use="mlp")
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    bundle: BundleConfig = BundleConfig()
    bank: BankConfig = BankConfig()

    @model_validator(mode="after")
    def _sources_have_inputs(self) -> Experiment:
        for source in self.sources:
            if source.input not in self.inputs:
                raise ValueError(
                    f"source {source.use} reads input {source.input!r}, "
                    f"but inputs has {', '.join(self.inputs)}"
                )
        unread = set(self.inputs) - {source.input for source in self.sources}
        if unread:
            raise ValueError(f"no source reads {', '.join(f'inputs.{n}' for n in sorted(unread))}")
        return self

    def digest(self) -> str:
        """Return a digest of all that decides the result (not of where the bank lies)."""
        plain = self.model_dump(mode="json", exclude={"bank"})
        del plain["bundle"]["accept_licenses"]
        if not self.bundle.codes:
            del plain["bundle"]["codes"]
        if self.bundle.model_copy(update={"accept_licenses": ()}) == BundleConfig():
            del plain["bundle"]
        if self.adaptation is None:
            del plain["adaptation"]
        return digest_of(plain)
