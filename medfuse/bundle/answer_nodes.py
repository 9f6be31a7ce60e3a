"""What configurations of labelled cases differ in: a case has one class, or several labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Nodes = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AnswerNodes:
    """The nodes that read, learn from and measure what is known of a case.

    Attributes:
        listing: lists the cases; its argument ``folder`` is left out.
        reader: transform that makes ``label`` a number or a tensor.
        loss: the id ``loss``, and ids that it needs.
        learned: transforms of what the network gave, in training and validation.
        train_metric: name and metric of the training cases.
        val_metric: name and metric that choose the candidate.
        further: more metrics of the validation cases.
        saver: further arguments of the ``CheckpointSaver``.
        evaluator: further arguments of the validating engine.
        first: what runs before the training.
        measured: transforms of what the network gave, in ``evaluate.json``.
        metrics: those of ``evaluate.json``, the key metric first.
        writer: of its rows.
    """

    listing: Nodes
    reader: Nodes
    loss: Nodes
    learned: tuple[Nodes, ...]
    train_metric: Nodes
    val_metric: Nodes
    measured: tuple[Nodes, ...]
    metrics: Nodes
    writer: str
    further: Nodes = field(default_factory=dict)
    saver: Nodes = field(default_factory=dict)
    evaluator: Nodes = field(default_factory=dict)
    first: tuple[str, ...] = ()
