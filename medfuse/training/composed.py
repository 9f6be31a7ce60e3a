"""Decisions of networks of single sources, combined as a fusion of decisions does it.

Late fusion is of networks that were trained each by itself. A comparison has them: they need not
be trained once more, side by side in one network, for a fusion that has nothing to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medfuse.config import ComponentConfig
from medfuse.contract import DecisionFusionSpec
from medfuse.model import DecisionClassifier
from medfuse.training.candidate import (
    BankedCases,
    Fit,
    Fitted,
    Recipe,
    built_for,
    calibrated,
    known_components,
)

ALONE = ComponentConfig(use="concat")


def networks_of(cases: BankedCases, fit: Fit, recipe: Recipe) -> tuple[Fit, ...]:
    """Return the networks that a candidate is put together from, one per source.

    Nothing is returned for one that is trained as a whole: a fusion of features, one with
    parameters, several members, whose heads stop together, or cases of which some lack an input, so
    that each source would hold out cases of its own.
    """
    if fit.method != "network" or len(fit.sources) == 1 or recipe.members_of(len(fit.train)) > 1:
        return ()
    spec = known_components().fusion(fit.fusion.use)
    if not isinstance(spec, DecisionFusionSpec) or spec.fitting != "none":
        return ()
    inputs = [cases.inputs[i] for i in fit.sources]
    if not cases.known[np.concatenate([fit.train, fit.test])][:, inputs].all():
        return ()
    return tuple(replace(fit, sources=(i,), fusion=ALONE) for i in fit.sources)


def compose(cases: BankedCases, fit: Fit, recipe: Recipe, networks: Sequence[Fitted]) -> Fitted:
    """Return what a fusion of decisions says where each source has a network of its own.

    Args:
        cases: of the comparison.
        fit: the candidate.
        recipe: how its networks learned.
        networks: what `networks_of` names, trained.
    """
    classifier = built_for(cases, fit, recipe).fresh(fit.seed)
    assert isinstance(classifier, DecisionClassifier), "networks_of names none for other fusions"
    labels = networks[0].held_out_labels
    assert labels is not None, "of networks, not of classic classifiers"
    held_out = [n.held_out_logits for n in networks if n.held_out_logits is not None]
    return calibrated(
        _combined(classifier, [n.logits for n in networks if n.logits is not None]),
        _combined(classifier, held_out) if held_out else None,
        labels,
        float(np.mean([network.setting for network in networks])),
    )


@torch.no_grad()
def _combined(
    classifier: DecisionClassifier, told: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the combined logits, by a classifier whose heads hand on what the networks said."""
    widths, heads = [logits.shape[1] for logits in told], [nn.Identity() for _ in told]
    link = classifier.link if classifier.link == "sigmoid" else "softmax"
    given = DecisionClassifier(widths, heads, classifier.combine, link).eval()
    return np.asarray(given([torch.from_numpy(logits) for logits in told]).numpy())
