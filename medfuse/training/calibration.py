"""From held-out cases to the way in which logits are calibrated, chosen by what it is worth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from scipy.special import log_softmax
from torch import nn

from medfuse.model import FusedNetwork
from medfuse.training.calibrate import fit_temperature
from medfuse.training.dirichlet import fit_dirichlet
from medfuse.training.held_out_folds import held_out_folds
from medfuse.training.isotonic import fit_isotonic

Method: TypeAlias = Literal["none", "temperature", "dirichlet", "isotonic"]

FEWEST_PATIENTS: Mapping[Method, int] = {"dirichlet": 200, "isotonic": 1000}
"""Of how many held-out patients on `choose_method` considers a method, the simpler one first.

scikit-learn advises against isotonic regression with much fewer than 1000 cases; a linear map of K
classes has K (K + 1) numbers.
"""

_CLEARLY = 2.0  # standard errors by which the more complex method must be better


@dataclass(frozen=True, eq=False)
class HeldOutLogits:
    """Logits of labeled cases that were not trained on.

    Attributes:
        logits: ``(N, K)``.
        labels: ``(N,)`` class indices; of several labels the answers ``(N, L)``, -1 if unknown.
        groups: ``(N,)`` patients as numbers.
    """

    logits: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def rows(self, chosen: np.ndarray) -> HeldOutLogits:
        """Return the cases at the positions ``chosen``."""
        return HeldOutLogits(self.logits[chosen], self.labels[chosen], self.groups[chosen])


@dataclass(frozen=True, eq=False)
class Calibration:
    """How logits become calibrated ones.

    Attributes:
        method: its name.
        temperature: 1 for every other method.
        module: the map; ``None`` for a temperature alone.
        facts: plain data on how it was chosen.
    """

    method: Method = "none"
    temperature: float = 1.0
    module: nn.Module | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated logits ``(N, K)``, float64."""
        scaled = np.asarray(logits, dtype=np.float64) / self.temperature
        if self.module is None or not len(scaled):
            return scaled
        with torch.no_grad():
            mapped = copy.deepcopy(self.module).double()(torch.from_numpy(scaled))
        return np.asarray(mapped.numpy())

    def install(self, network: FusedNetwork) -> None:
        """Make it the last part of a network."""
        network.temperature.fill_(self.temperature)
        network.calibration = self.module

    @property
    def gain(self) -> float:
        """By how much it may enlarge a rounding of the logits; at least 1."""
        module: Any = self.module
        return max(1.0, 1 / self.temperature if module is None else module.gain())

    @property
    def described(self) -> str:
        """The method in words, for a report or a card."""
        return f"temperature {self.temperature:.3f}" if self.module is None else self.method


def calibrate(cases: HeldOutLogits, method: Method) -> Calibration:
    """Return the calibration of one method, fitted on held-out cases.

    Raises:
        TrainingError: there is no case, or a logit is not finite.
    """
    return _FITS[method](cases)


def choose_method(cases: HeldOutLogits) -> tuple[Method, dict[str, Any]]:
    """Return the simplest method that no other one clearly beats, and what was compared.

    Each method is fitted on four fifths of the patients and gives the log loss of the others. A
    more complex method is taken where the mean loss of the cases is lower than that of the simpler
    one by more than two standard errors of the difference, patients counted as units (the rule of
    one standard error of Breiman et al., 1984, for paired losses, and stricter).
    """
    patients = len(np.unique(cases.groups))
    if cases.labels.ndim == 2:
        return "temperature", {"left_out": "several labels per case: each has too few cases"}
    allowed: list[Method] = [m for m, fewest in FEWEST_PATIENTS.items() if patients >= fewest]
    left_out = {
        method: f"{patients} held-out patients, {fewest} are needed"
        for method, fewest in FEWEST_PATIENTS.items()
        if method not in allowed
    }
    best: Method = "temperature"
    if not allowed:
        return best, {"left_out": left_out}
    losses = {method: _held_out_losses(cases, method) for method in (best, *allowed)}
    rows = [{"method": best, "log_loss": float(losses[best].mean())}]
    for method in allowed:
        gained, error = _gain(losses[best] - losses[method], cases.groups)
        rows.append({
            "method": method, "log_loss": float(losses[method].mean()),
            "gain": gained, "standard_error": error, "over": best,
        })  # fmt: skip
        if gained > _CLEARLY * error:
            best = method
    return best, {"compared": rows, "left_out": left_out}


def cross_calibrated(cases: HeldOutLogits, method: Method) -> np.ndarray:
    """Return logits ``(N, K)``, each calibrated by the cases of other patients.

    What is fitted on them, such as prediction sets, then holds for new cases as well: a map of many
    numbers knows the cases that it was fitted on.
    """
    found = np.array(cases.logits, dtype=np.float64)
    for rest, new in held_out_folds(cases.groups):
        found[new] = calibrate(cases.rows(rest), method)(cases.logits[new])
    return found


def _held_out_losses(cases: HeldOutLogits, method: Method) -> np.ndarray:
    said = log_softmax(cross_calibrated(cases, method), axis=1)
    return np.asarray(-said[np.arange(len(said)), cases.labels])


def _gain(gains: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Return the mean gain of the cases and its standard error, by patient."""
    index = np.unique(groups, return_inverse=True)[1]
    mean, patients = gains.mean(), int(index.max()) + 1
    sums = np.bincount(index, gains - mean)
    error = np.sqrt((sums**2).sum() * patients / (patients - 1)) / len(gains)
    return float(mean), float(error)


def _temperature(cases: HeldOutLogits) -> Calibration:
    return Calibration("temperature", fit_temperature(cases.logits, cases.labels))


def _dirichlet(cases: HeldOutLogits) -> Calibration:
    return Calibration("dirichlet", module=fit_dirichlet(cases.logits, cases.labels, cases.groups))


def _isotonic(cases: HeldOutLogits) -> Calibration:
    return Calibration("isotonic", module=fit_isotonic(cases.logits, cases.labels))


_FITS: Mapping[Method, Callable[[HeldOutLogits], Calibration]] = {
    "none": lambda _: Calibration(),
    "temperature": _temperature,
    "dirichlet": _dirichlet,
    "isotonic": _isotonic,
}
