"""Configure: one YAML file of plain data -> one `Experiment`, every default written out."""

from medfuse.config.loading import (
    dump_experiment,
    load_experiment,
    parse_experiment,
    with_overrides,
)
from medfuse.config.sections import (
    AugmentationConfig,
    BankConfig,
    CohortConfig,
    ComponentConfig,
    EarlyStoppingConfig,
    EvaluationConfig,
    Experiment,
    InputConfig,
    NormalizationConfig,
    Section,
    SourceConfig,
    SplitConfig,
    TrainingConfig,
    UnfreezeConfig,
)

__all__ = [
    "AugmentationConfig",
    "BankConfig",
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
    "dump_experiment",
    "load_experiment",
    "parse_experiment",
    "with_overrides",
]
