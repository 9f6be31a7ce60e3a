"""What can be asked of feature extraction, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch

from medfuse.features.bank import FeatureBank
from medfuse.features.choice import EngineName
from medfuse.features.digests import ImageFacts
from medfuse.features.forward import Translations
from medfuse.features.images import ImageIndex

BATCH_SIZE = 16
Augment = Callable[[torch.Tensor, str, int], torch.Tensor]


class FeatureSource(Protocol):
    """A frozen source; a ``BuiltSource`` is one.

    ``extractor`` maps ``(N, C, *spatial)`` to ``(N, feature_dim)``, or to
    ``(N, tokens, feature_dim)`` where ``tokens`` is not 0. It is asked for only if a feature is
    missing, so that it may be built on first use. Where ``slices`` is not 0, images are volumes
    ``(C, H, W, slices)`` and ``extractor`` takes their slices ``[..., k]`` one by one. One that
    says ``as_in_training`` is computed by torch alone, for the bits that training would give.
    """

    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def identity(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def feature_dim(self) -> int: ...  # noqa: D102
    @property
    def tokens(self) -> int: ...  # noqa: D102
    @property
    def slices(self) -> int: ...  # noqa: D102
    @property
    def extractor(self) -> torch.nn.Module: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class CaseImage:
    """One image of one case, with ``views`` augmented views beside the clean one."""

    case_id: str
    reference: str
    views: int = 0


@dataclass(frozen=True)
class Augmentation:
    """Makes augmented views.

    Args:
        augment: ``(pixels (C, *spatial), image digest, view)`` to pixels of the same shape;
            deterministic in the last two.
        identity: all that decides a view besides: recipe, seed, versions; plain data.
    """

    augment: Augment
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class ExtractionRequest:
    """Sources, cases and where to compute and keep.

    Args:
        sources: frozen sources, each with its own recipe in the bank.
        cases: images and their numbers of views; equal images are computed once.
        images: gives digests and pixels.
        bank: ``None`` computes everything and keeps nothing.
        augmentation: needed where a case asks for views.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...
        shape: ``(C, *spatial)`` of the canonical images; needed where these are volumes.
        batch_size: every batch is padded to it; of volumes fewer go at once, see
            `medfuse.features.engine.batch_size_for`. Features of one batch size are bit-identical
            whatever was known before; of two, equal to rounding.
        tokens_as: how token maps are kept; vectors are always float32.
        engine: which library computes on a processor; see `medfuse.features.choice`.
        translations: what the library has translated so far, and the labels of sources that it
            cannot compute, so that torch does; requests that share it share them.
    """

    sources: Sequence[FeatureSource]
    cases: Sequence[CaseImage]
    images: ImageIndex
    bank: FeatureBank | None = None
    augmentation: Augmentation | None = None
    shape: tuple[int, ...] = ()
    device: str = "cpu"
    batch_size: int = BATCH_SIZE
    workers: int = 2
    tokens_as: Literal["float32", "float16"] = "float32"
    engine: EngineName = "torch"
    translations: Translations = field(default_factory=Translations)

    def engine_of(self, source: FeatureSource) -> EngineName:
        """Return which library computes a source; torch what has to have the bits of training."""
        exact = getattr(source, "as_in_training", False)
        return "torch" if exact or source.label in self.translations.refused else self.engine


@dataclass(frozen=True)
class Features:
    """The features of all cases, in their order.

    Args:
        values: per source float32 ``(cases, 1 + most views, F)``, or ``(..., T, F)`` with one
            vector per token or slice; NaN where a case has fewer views.
        views: ``(cases,)`` number of augmented views of each case.
        facts: what is known of each case's image.
        known: distinct images whose every feature was in the bank.
        computed: distinct images with a feature that was computed now.
        forwards: number of batches that went through a network.
    """

    values: list[np.ndarray]
    views: np.ndarray
    facts: list[ImageFacts]
    known: int
    computed: int
    forwards: int
