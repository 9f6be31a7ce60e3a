"""Learn: features (or images) and labels -> a trained classifier and the history of its losses.

`build_classifier` makes the module, `fit` trains it on MONAI's engines, `predict_logits` applies
it and `fit_temperature` calibrates it. MONAI is imported when `fit` starts, not before.
"""

from medfuse.training.calibrate import fit_temperature
from medfuse.training.classifier import BuiltClassifier, build_classifier
from medfuse.training.data import TrainingData
from medfuse.training.fit import fit
from medfuse.training.predict import (
    predict_features,
    predict_logits,
    predict_shares,
    predict_slice_weights,
)
from medfuse.training.result import TrainingResult
from medfuse.training.run import Run, SourceRates, Unfreeze

__all__ = [
    "BuiltClassifier",
    "Run",
    "SourceRates",
    "TrainingData",
    "TrainingResult",
    "Unfreeze",
    "build_classifier",
    "fit",
    "fit_temperature",
    "predict_features",
    "predict_logits",
    "predict_shares",
    "predict_slice_weights",
]
