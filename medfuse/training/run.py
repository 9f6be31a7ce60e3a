"""What a training run is beside its data: where it is written, its seed, its handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medfuse.processes import Shard

if TYPE_CHECKING:
    from torch import Tensor

AttachHandlers = Callable[[Any, "Run"], None]


@dataclass(frozen=True)
class Unfreeze:
    """One source starts to learn after some epochs of training the head alone.

    Attributes:
        source: index of the source.
        after: epochs that are trained before.
        paths: submodules that learn from then on, or ``all``; given to ``set_trainable``.
        lr_scale: factor on the learning rate for these parameters.
    """

    source: int
    after: int
    paths: Sequence[str] | Literal["all"] = "all"
    lr_scale: float = 0.1


@dataclass(frozen=True)
class SourceRates:
    """Factors on the learning rate within one source.

    With ``decay`` below 1 each stage learns slower than the one above it (discriminative rates,
    Howard and Ruder 2018, arXiv:1801.06146; layer-wise decay, Bao et al. 2022, arXiv:2106.08254).

    Attributes:
        scale: of what learns from the first epoch.
        decay: of a stage beside the one above it.
        above: stages above each module, by its path in the backbone.
    """

    scale: float = 0.1
    decay: float = 1.0
    above: Mapping[str, int] = field(default_factory=dict)

    def factor(self, parameter: str) -> float:
        """Return the factor of a parameter by its depth; its path begins with the source's own."""
        path = parameter.partition("backbone.")[2].rpartition(".")[0]
        return self.decay ** self.above.get(path, 0)


@dataclass(frozen=True)
class Run:
    """Everything about one training run but the model and its cases.

    Attributes:
        folder: checkpoints and TensorBoard events are written below; ``None`` writes nothing.
        configuration: plain data of the whole experiment; a checkpoint of another one is refused.
        classes: class names, in the order of the logits.
        seed: of the shuffling, the views, dropout, noise and mixup.
        unfreeze: sources that start to learn later.
        attach_handlers: called with ``(trainer, run)`` before training starts; plugins add their
            Ignite handlers here. ``trainer.state.metrics`` holds the losses of the epoch; that of
            validation is of the mean over the epochs where ``training.ema_decay`` asks for one,
            while ``trainer.network`` is what goes on learning.
        progress: tell on stderr how far it is, see `medfuse.progress`.
        resume: continue from the last checkpoint below ``folder``, if there is one.
        checkpoint_seconds: least time between two checkpoints; longer where writing one takes long.
            What is lost by a kill is trained again with the same result.
        rates: factors on the learning rate of sources that learn, by index.
        head_loss: the loss that the head's spec names, for ``loss: auto``.
        hides_inputs: the fusion leaves out what is missing, so that ``training.input_dropout`` may
            hide inputs.
        last_epoch: stop after this epoch, while schedules plan for all; ``None`` for all epochs.
        role: ``fused`` for the model of all sources, ``single`` for one source alone.
        sources: labels of the sources that are trained on.
        member: which of the averaged classifiers this is, from 1.
        members: how many there are.
        fold: which part is left out while decisions are made out of fold, from 1; 0 elsewhere.
        shard: this process among those that train sources together, each with a share of the
            images. Only the first has a ``folder``; handlers are attached in all, and get one.
    """

    folder: Path | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    seed: int = 0
    unfreeze: tuple[Unfreeze, ...] = ()
    attach_handlers: AttachHandlers | None = None
    progress: bool = False
    resume: bool = True
    checkpoint_seconds: float = 3.0
    rates: Mapping[int, SourceRates] = field(default_factory=dict)
    head_loss: str = "cross_entropy"
    hides_inputs: bool = True
    last_epoch: int | None = None
    role: Literal["fused", "single"] = "fused"
    sources: tuple[str, ...] = ()
    member: int = 1
    members: int = 1
    fold: int = 0
    shard: Shard = field(default_factory=Shard)

    def learning_sources(self, features: Sequence[Tensor | None]) -> frozenset[int]:
        """Return which sources learn from images: those without features, and those freed later."""
        absent = {i for i, x in enumerate(features) if x is None}
        return frozenset(absent | {change.source for change in self.unfreeze})

    @property
    def title(self) -> str:
        """What tells this training from the others of a run, in a few words; perhaps empty."""
        parts = [f"{' + '.join(self.sources)} alone"] if self.role == "single" else []
        parts += [f"member {self.member}/{self.members}"] if self.members > 1 else []
        parts += [f"out of fold {self.fold}"] if self.fold else []
        return ", ".join(parts)

    @property
    def checkpoints(self) -> Path | None:
        """Folder of ``last.pt`` and ``best.pt``."""
        return None if self.folder is None else self.folder / "checkpoints"
