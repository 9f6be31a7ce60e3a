"""Configure: one YAML file of plain data -> one `Experiment`, every default written out."""

from medfuse.config.cohort import AugmentationConfig, CohortConfig, SplitConfig
from medfuse.config.evaluation import AbstainConfig, EvaluationConfig
from medfuse.config.experiment import (
    AdaptationConfig,
    BankConfig,
    BundleConfig,
    ComponentConfig,
    EarlyStoppingConfig,
    Experiment,
    TrainingConfig,
)
from medfuse.config.inputs import InputConfig
from medfuse.config.loading import (
    as_experiment,
    dump_experiment,
    load_experiment,
    parse_experiment,
    with_overrides,
)
from medfuse.config.section import Section
from medfuse.config.sources import (
    AUTO_REMAP,
    AdapterConfig,
    NormalizationConfig,
    SourceConfig,
    UnfreezeConfig,
)
from medfuse.config.windows import WINDOWS

__all__ = [
    "AUTO_REMAP",
    "WINDOWS",
    "AbstainConfig",
    "AdaptationConfig",
    "AdapterConfig",
    "AugmentationConfig",
    "BankConfig",
    "BundleConfig",
    "CohortConfig",
    "ComponentConfig",
    "EarlyStoppingConfig",
    "EvaluationConfig",
    "Experiment",
    "InputConfig",
    "NormalizationConfig",
    "Section",
    "SourceConfig",
    "SplitConfig",
    "TrainingConfig",
    "UnfreezeConfig",
    "as_experiment",
    "dump_experiment",
    "load_experiment",
    "parse_experiment",
    "with_overrides",
]
