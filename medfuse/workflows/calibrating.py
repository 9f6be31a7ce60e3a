"""From held-out cases to calibrated probabilities, and what can be fitted on those."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from medfuse.contract import HeadSpec
from medfuse.data import Cohort
from medfuse.training.calibration import (
    FEWEST_PATIENTS,
    Calibration,
    HeldOutLogits,
    calibrate,
    choose_method,
    cross_calibrated,
)
from medfuse.workflows.answers import labels_of

_log = logging.getLogger(__name__)


def probabilities_of(logits: np.ndarray, head: HeadSpec) -> np.ndarray:
    """Return the probabilities ``(N, K)`` of a network's logits."""
    found = expit(logits) if head.link == "sigmoid" else softmax(logits, axis=1)
    return np.asarray(found)


def labeled_logits(cohort: Cohort, rows: np.ndarray, logits: np.ndarray) -> HeldOutLogits:
    """Return the logits ``(n, K)`` of the cases at ``rows`` with their labels and patients."""
    patients = [cohort.cases[row].patient_id for row in rows]
    groups = np.unique(np.array(patients, dtype=str), return_inverse=True)[1]
    return HeldOutLogits(logits, labels_of(cohort)[rows], groups)


def fit_calibration(cases: HeldOutLogits, asked: str) -> Calibration:
    """Return the calibration that ``evaluation.calibrate`` asks for; ``auto`` chooses one.

    Raises:
        TrainingError: a logit is not finite.
    """
    if asked == "auto":
        method, compared = choose_method(cases)
        _log.info("calibration: %s, by log loss on held-out cases", method)
        return replace(calibrate(cases, method), facts={"asked": asked, **compared})
    method = next(name for name in ("none", "temperature", *FEWEST_PATIENTS) if name == asked)
    patients, fewest = len(np.unique(cases.groups)), FEWEST_PATIENTS.get(method, 0)
    if patients < fewest:
        _log.warning(
            "evaluation.calibrate is %s, but only %d patients were held out; below %d it tends to "
            "fit them and not others. Prefer auto, or temperature.",
            method, patients, fewest,
        )  # fmt: skip
    return calibrate(cases, method)


def held_out_probabilities(cases: HeldOutLogits, calibration: Calibration) -> np.ndarray:
    """Return probabilities ``(n, K)`` of classes that new cases' are exchangeable with.

    A temperature is a single number, and is taken as it is; a map of many numbers knows the cases
    that it was fitted on, so each case is calibrated by other patients.
    """
    if calibration.module is None:
        return np.asarray(softmax(calibration(cases.logits), axis=1))
    return np.asarray(softmax(cross_calibrated(cases, calibration.method), axis=1))


def calibration_facts(calibration: Calibration) -> dict[str, Any]:
    """Return the method and how it was chosen, as plain data."""
    return {"method": calibration.method, **calibration.facts}
