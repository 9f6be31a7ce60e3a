"""What one experiment consists of; an unknown key is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from medfuse.config.inputs import InputConfig
from medfuse.config.kinds import Matches, Says
from medfuse.config.section import Section
from medfuse.config.subgroups import Subgroup, parse_subgroup
from medfuse.storage import digest_of


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected an integer")
    return value


def _named(value: object) -> object:
    return {"use": value} if isinstance(value, str) else value


def _policy(value: object) -> object:
    """Return ``from:layer3`` for ``{from: layer3}``."""
    if isinstance(value, dict) and len(value) == 1:
        return ":".join(str(part) for part in next(iter(value.items())))
    return value


def _subgroup(text: str) -> str:
    parse_subgroup(text)
    return text


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) else [] if value is None else [value]


_LATER = Matches(
    "all | last:N (N from 1 on) | from:STAGE", r"all|last:[1-9]\d*|from:[A-Za-z0-9_.]+"
)
_LEARNS = Matches(
    "frozen | all | scratch | last:N (N from 1 on) | from:STAGE",
    r"frozen|all|scratch|last:[1-9]\d*|from:[A-Za-z0-9_.]+",
)
_NAME = Matches(
    "up to 64 letters, digits, - and _, a letter or digit first", r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
)
_LICENSE = Matches("SPDX expression", r"[A-Za-z0-9.+() -]+")
AUTO_REMAP = "auto"
_REMAP = Says("mapping | auto | lightning | moco | dino | mae | simclr | clip")
_KeyFormat = Literal["auto", "lightning", "moco", "dino", "mae", "simclr", "clip"]
_COMPONENT = Says("name | {use: name, option: value}")
_Subgroup = Annotated[str, Says("column or column:CUT:CUT"), AfterValidator(_subgroup)]
_Weight = Annotated[float, Field(gt=0)]
_Seed = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, lt=2**32)]


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
    seed: Annotated[int, BeforeValidator(_no_boolean)] = 0

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
    seed: _Seed = 0
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

    rank: Annotated[int, BeforeValidator(_no_boolean)] = Field(8, ge=1, le=1024)
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
        list[UnfreezeConfig], BeforeValidator(_listed), Says("section | list of sections")
    ] = []
    lr_scale: float | None = Field(None, gt=0)
    lr_decay: float = Field(1.0, gt=0, le=1)
    batch_norm: Literal["train", "affine", "frozen"] = "train"
    adapter: AdapterConfig | None = None
    cut: str | None = None
    levels: Literal["auto"] | Annotated[int, BeforeValidator(_no_boolean), Field(ge=1, le=9)] = (
        "auto"
    )
    input_size: tuple[Annotated[int, Field(ge=1, le=4096)], ...] | None = None
    normalization: NormalizationConfig | None = None
    remap: Annotated[_KeyFormat | dict[str, str], _REMAP] = {}
    sha256: Annotated[str, Matches("64 hexadecimal digits", r"[0-9a-f]{64}")] | None = None
    license: Annotated[str, _LICENSE] | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone(cls, data: Any) -> Any:
        return _named(data)

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


class ComponentConfig(BaseModel):
    """A fusion or a head: ``use`` names it, every other key is an option of its own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone(cls, data: Any) -> Any:
        return _named(data)

    @property
    def options(self) -> dict[str, Any]:
        """The component's own options."""
        return dict(self.model_extra or {})


class EarlyStoppingConfig(Section):
    """Stop when the validation loss has not fallen by ``min_delta`` for ``patience`` epochs."""

    patience: int = Field(10, ge=1)
    min_delta: float = Field(1e-3, ge=0)


class TrainingConfig(Section):
    """How the head (and what is not frozen) learns.

    The defaults were chosen on folds of unlike cases; see ``docs/training.md``.
    """

    members: int = Field(5, ge=1, le=20)
    source_heads: bool = True
    epochs: int = Field(50, ge=1)
    batch_size: int = Field(32, ge=1)
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
    early_stopping: EarlyStoppingConfig | None = EarlyStoppingConfig()
    mixed_precision: bool = False
    device: Annotated[str, Says("auto | cpu | cuda | cuda:N")] = "auto"


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
    calibrate: Literal["temperature", "none"] = "temperature"
    abstain: AbstainConfig = AbstainConfig()
    baselines: bool = True
    metrics: dict[str, dict[str, Any]] = {}
    threshold: Literal["youden"] | Annotated[float, Field(gt=0, lt=1)] = "youden"
    subgroups: Annotated[list[_Subgroup], BeforeValidator(_listed)] = []

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


class BankConfig(Section):
    """Where features are kept, and how much room they may take.

    ``activations`` keeps what the frozen part of a source that learns gives, too.
    """

    path: str | None = None
    budget_gb: float = Field(8.0, gt=0)
    activations: bool = True


class BundleConfig(Section):
    """What a bundle says of itself.

    ``license`` (SPDX) may be stricter than that of the sources, never freer.
    """

    authors: str = Field("Not named.", min_length=1)
    copyright: str | None = Field(None, min_length=1)
    license: Annotated[str, _LICENSE] | None = None


class Experiment(Section):
    """Everything that decides the result of one run."""

    schema_version: Literal[1] = 1
    name: Annotated[str, _NAME] = "model"
    seed: _Seed = 0
    cohort: CohortConfig
    inputs: dict[str, InputConfig] = {"image": InputConfig()}
    augmentation: AugmentationConfig = AugmentationConfig()
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
        unnamed = {"bundle"} if self.bundle == BundleConfig() else set()
        return digest_of(self.model_dump(mode="json", exclude={"bank", *unnamed}))
