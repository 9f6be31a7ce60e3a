"""Whether a prediction is to be believed. Copied into bundles: numpy alone.

The limits are a policy: they lie in the bundle's ``inference.json``, where they can be read and
changed; the statistics that the distances need lie beside the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .evaluation_feature_distance import FeatureDistances; from .evaluation_feature_distance import load_distances

OUT_OF_DISTRIBUTION = "OUT_OF_DISTRIBUTION"
LOW_CONFIDENCE = "LOW_CONFIDENCE"
AMBIGUOUS_SET = "AMBIGUOUS_SET"


@dataclass(frozen=True)
class Judgement:
    """Whether the prediction of one case is to be believed.

    Attributes:
        status: ``ok`` or ``abstained``.
        reason_code: why it abstained; empty if it did not.
        reason: the same in a sentence.
        distances: by source, the distance as a multiple of its limit: above 1 is too far. Sources
            whose input is absent, or that have no limit, are not in it.
        conformal_set: the classes that cannot be ruled out, the most probable first; empty where
            the model has no sets.
    """

    status: str
    reason_code: str
    reason: str
    distances: Mapping[str, float]
    conformal_set: tuple[str, ...]

    @property
    def farthest(self) -> float | None:
        """The largest of the distances, or ``None``."""
        return max(self.distances.values(), default=None)


class Abstention:
    """When a model gives no answer, and the classes that it cannot rule out.

    Args:
        distances: of the training cases, or the file that holds them.
        class_names: in the order of the probabilities.
        out_of_distribution: abstain where a source's distance is above its limit.
        confidence: abstain below this probability of the predicted class; 0 never does.
        largest_set: abstain where more classes cannot be ruled out; 0 never does.
        set_limits: of each class, the largest score that it may have in a set; none makes no sets.
        score: of the sets, ``lac`` or ``aps``; see `set_scores`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the ids of a configuration node
        self,
        distances: FeatureDistances | str,
        class_names: Sequence[str],
        out_of_distribution: bool = True,
        confidence: float = 0.0,
        largest_set: int = 0,
        set_limits: Sequence[float] = (),
        score: str = "lac",
    ) -> None:
        known = load_distances(distances) if isinstance(distances, str) else distances
        self.distances = known
        self.class_names = tuple(class_names)
        self.out_of_distribution = out_of_distribution
        self.confidence = confidence
        self.largest_set = largest_set
        self.set_limits = np.asarray(set_limits, dtype=np.float64)
        self.score = score

    def __call__(self, probabilities: Sequence[float], distances: np.ndarray) -> Judgement:
        """Return the judgement of one case.

        Args:
            probabilities: ``(K,)``.
            distances: ``(S,)`` as `FeatureDistances` gives them, NaN where an input is absent.
        """
        row = np.asarray(probabilities, dtype=np.float64)
        ratios = self._ratios(distances)
        chosen = self._set(row)
        code, reason = self._reason(row, ratios, chosen)
        return Judgement("abstained" if code else "ok", code, reason, ratios, chosen)

    def from_features(
        self, probabilities: np.ndarray, features: np.ndarray, present: np.ndarray | None = None
    ) -> list[Judgement]:
        """Return the judgement of each case.

        Args:
            probabilities: ``(N, K)``.
            features: ``(N, sum of F)`` of ``network.features``.
            present: ``(N, I)`` which inputs of the network the cases have; all if ``None``.
        """
        columns = [source.position for source in self.distances.sources]
        found = self.distances(features, None if present is None else present[:, columns] > 0)
        return [self(p, d) for p, d in zip(probabilities, found, strict=True)]

    def _ratios(self, distances: np.ndarray) -> dict[str, float]:
        pairs = zip(self.distances.sources, np.asarray(distances), strict=True)
        return {
            source.label: float(distance / source.limit)
            for source, distance in pairs
            if np.isfinite(source.limit) and not np.isnan(distance)
        }

    def _set(self, row: np.ndarray) -> tuple[str, ...]:
        if not len(self.set_limits):
            return ()
        inside = in_set(row[None], self.set_limits, self.score)[0]
        order = np.argsort(-row, kind="stable")
        return tuple(self.class_names[k] for k in order if inside[k])

    def _reason(
        self, row: np.ndarray, ratios: Mapping[str, float], chosen: Sequence[str]
    ) -> tuple[str, str]:
        far = {name: ratio for name, ratio in ratios.items() if ratio > 1}
        if self.out_of_distribution and far:
            name = max(far, key=far.__getitem__)
            return OUT_OF_DISTRIBUTION, f"{name} lies {_beyond(far[name])}"
        if row.max() < self.confidence:
            text = f"the probability {row.max():.3f} is below {self.confidence:g}"
            return LOW_CONFIDENCE, text
        if self.largest_set and len(chosen) > self.largest_set:
            text = f"{len(chosen)} classes cannot be ruled out, at most {self.largest_set} may"
            return AMBIGUOUS_SET, text
        return "", ""

    def node(self, distances: str) -> dict[str, Any]:
        """Return plain data that makes the same again from the file ``distances``."""
        return {
            "distances": distances,
            "class_names": list(self.class_names),
            "out_of_distribution": self.out_of_distribution,
            "confidence": self.confidence,
            "largest_set": self.largest_set,
            "set_limits": [float(limit) for limit in self.set_limits],
            "score": self.score,
        }


def set_scores(probabilities: np.ndarray, score: str) -> np.ndarray:
    """Return how badly each class fits each case, ``(N, K)`` in [0, 1].

    ``lac`` is one minus the probability, which gives the smallest sets (Sadinle, Lei and
    Wasserman, 2019, doi:10.1080/01621459.2017.1395341). ``aps`` adds up the probabilities of the
    classes that are more probable, and the class's own, which gives sets that grow with how hard
    a case is (Romano, Sesia and Candes, 2020, arXiv:2006.02544), here without their random number
    (a case has one set), so that they are a little larger.
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    if score == "lac":
        return 1 - rows
    if score != "aps":
        raise ValueError(f"found score {score!r}, expected 'lac' or 'aps'")
    order = np.argsort(-rows, axis=1, kind="stable")
    found = np.empty_like(rows)
    np.put_along_axis(found, order, np.take_along_axis(rows, order, 1).cumsum(1), axis=1)
    return found


def in_set(probabilities: np.ndarray, limits: np.ndarray, score: str) -> np.ndarray:
    """Return which classes cannot be ruled out, ``(N, K)``; the most probable is always in.

    Args:
        probabilities: ``(N, K)``.
        limits: ``(K,)``.
        score: ``lac`` or ``aps``.
    """
    inside = set_scores(probabilities, score) <= np.asarray(limits)
    inside[np.arange(len(inside)), np.argmax(probabilities, axis=1)] = True
    return inside


def _beyond(ratio: float) -> str:
    """Return how far beyond its limit a case lies; never as 1.00 times."""
    times = f"{ratio:.2f}"
    if times == "1.00":
        return "just farther from the training cases than its limit"
    return f"{times} times as far from the training cases as its limit"
