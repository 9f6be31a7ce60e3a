"""Where heads of several labels begin: at the share of each label, not at even odds."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from medfuse.training.label_loss import LabelLoss


@torch.no_grad()
def begin_at_shares(classifier: nn.Module, answers: Tensor, loss: nn.Module) -> None:
    """Give the last layer of each head the log-odds that each label has among the known answers.

    At even odds every case pushes a rare label down, whatever its features are, and few cases are
    over before anything else is learned (Lin et al., 2017, doi:10.1109/ICCV.2017.324, section 4.1).
    From its share on, gradients are of what tells cases apart. One case more of each answer is
    counted, so that a label that nobody has keeps finite odds.

    Args:
        classifier: its ``head`` and ``heads`` are looked at; one whose last linear layer has not an
            output and a bias for each label stays as it is.
        answers: of the training cases, ``(N, L)``, -1 where unknown; classes ``(N,)`` change
            nothing.
        loss: weights of positive answers count in it.
    """
    if answers.ndim == 1:
        return
    held, absent = (answers == 1).sum(0) + 1.0, (answers == 0).sum(0) + 1.0
    if isinstance(loss, LabelLoss) and loss.weights is not None:
        held = held * loss.weights.to(held.device)
    for head in _heads(classifier):
        linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
        if linear and linear[-1].bias is not None and len(linear[-1].bias) == len(held):
            linear[-1].bias.copy_(torch.log(held / absent))


def _heads(classifier: nn.Module) -> Iterator[nn.Module]:
    for name, module in classifier.named_modules():
        *above, own = name.split(".")
        if own == "head" or above[-1:] == ["heads"]:
            yield module
