"""What the network of a bundle said before its calibration, of the same pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from scipy.special import expit, softmax
from torch import nn

from medfuse.serving.predict import Predictor
from medfuse.serving.prediction import Prediction

_BY_THE_NETWORK = "NON_FINITE_OUTPUT"  # refused after the network had answered


@contextmanager
def raw_logits(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Yield a list that gets the logits ``(n, K)`` of each batch, before calibration.

    It stays empty where the network is a traced graph, which shows nothing of its inside.
    """
    found: list[torch.Tensor] = []
    classifier: Any = getattr(network, "classifier", None)
    if isinstance(network, torch.jit.ScriptModule) or not isinstance(classifier, nn.Module):
        yield found
        return

    def keep(_module: nn.Module, _inputs: Any, logits: torch.Tensor) -> None:
        found.append(logits.detach().float().cpu())

    handle = classifier.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


def uncalibrated_answers(
    batches: Sequence[torch.Tensor], answers: Sequence[Prediction], predictor: Predictor
) -> np.ndarray | None:
    """Return the probabilities ``(N, K)`` of the cases with an answer, before calibration.

    ``None`` where the logits are not known, or the bundle was not calibrated.

    Args:
        batches: of `raw_logits`.
        answers: to all cases, in the order in which they were asked about.
        predictor: that gave them.
    """
    details = predictor.metadata["medfuse"].get("details", {})
    if not batches or details.get("calibration", {}).get("method") == "none":
        return None
    computed = [a for a in answers if a.probabilities or a.reason_code == _BY_THE_NETWORK]
    logits = torch.cat(list(batches)).numpy().astype(np.float64)
    if len(logits) != len(computed):
        return None
    kept = logits[[bool(answer.probabilities) for answer in computed]]
    return np.asarray(softmax(kept, axis=1) if predictor.exclusive else expit(kept))
