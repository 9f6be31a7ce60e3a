"""Frozen descriptions of the parts that plugins bring, beside backbones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medfuse.contract.exports import Export, GraphOnly
from medfuse.contract.options import Option

Link = Literal["softmax", "sigmoid", "sigmoid_pair", "coral", "corn"]
Task = Literal["multiclass", "multilabel", "ordinal"]

_NO_EXPORT = GraphOnly(reason="the plugin gives no export recipe")


@dataclass(frozen=True, kw_only=True)
class ComponentSpec:
    """What every component says of itself.

    Attributes:
        name: unique within its kind and plugin; lower case, digits, ``_`` and ``-``.
        summary: one line.
        factory: ``package.module:callable``, imported on first use.
        options: keywords the factory takes from the configuration.
        requires: distributions that must be installed for the factory to work.
        export: how the component lives in a bundle.
    """

    name: str
    summary: str
    factory: str
    options: tuple[Option, ...] = ()
    requires: tuple[str, ...] = ()
    export: Export = _NO_EXPORT


@dataclass(frozen=True, kw_only=True)
class FeatureFusionSpec(ComponentSpec):
    """Fuses features.

    The factory takes ``(in_dims, **options)`` and returns a module with ``out_dim``, called as
    ``fusion(features, mask)``:

    - ``features``: a list of S tensors, ``(N, F_s)`` each if ``accepts`` is ``vectors``, or
      ``(N, T_s, F_s)`` tokens if it is ``maps``;
    - ``mask``: ``(N, S)`` float32, 1 where the source is present;
    - returns ``(fused (N, out_dim), shares (N, S) or None)``; shares are non-negative and sum
      to 1 over the sources present.

    Attributes:
        accepts: ``vectors`` (pooled) or ``maps`` (grid tokens).
        handles_missing: masked sources are left out of what is fused. Without it no source is
            ever masked: a cohort with cases that lack an input is refused when training starts,
            and its bundles refuse such a case with the code ``MISSING_INPUT``.
    """

    accepts: Literal["vectors", "maps"] = "vectors"
    handles_missing: bool = False


@dataclass(frozen=True, kw_only=True)
class DecisionFusionSpec(ComponentSpec):
    """Combines the decisions of one head per source. The factory takes
    ``(num_sources, num_outputs, **options)`` and returns a module called as
    ``fusion(logits (N, S, K), mask (N, S))``, returning ``(logits (N, K), shares (N, S) or None)``.
    The logits given and returned are log-probabilities. Where a case has several labels, each
    label of each case is a row of its own with K = 2.

    Attributes:
        handles_missing: as of `FeatureFusionSpec`.
        fitting: ``none`` (the product has no parameters; one that has is refused), or
            ``out_of_fold`` (they are fitted on predictions for cases that the heads were not
            trained on).
    """

    handles_missing: bool = False
    fitting: Literal["none", "out_of_fold"] = "none"


@dataclass(frozen=True, kw_only=True)
class HeadSpec(ComponentSpec):
    """Classifies. The factory takes ``(in_dim, num_classes, **options)`` and returns a module
    ``(N, in_dim) -> (N, output_dim)`` of logits.

    Training takes heads for ``multiclass`` labels whose link is ``softmax`` or ``sigmoid_pair``,
    heads for ``ordinal`` labels whose link is ``coral`` or ``corn``, and heads for ``multilabel``
    labels whose link is ``sigmoid``. Others can be described and checked; an experiment that uses
    one is refused.

    Attributes:
        task: the kind of label; classes of an ``ordinal`` head go from the lowest grade up.
        single_logit: the head gives one logit for two classes.
        loss: ``cross_entropy``, ``binary_cross_entropy``, ``focal``, ``coral`` or ``corn``; the
            configuration may choose another that fits the link.
        link: how logits become K probabilities; the set is closed. ``coral``: the logits of being
            above each grade but the last, falling from grade to grade. ``corn``: the same for a
            case that is above all grades before.
        supports_soft_targets: whether label smoothing and mixup are allowed.
    """

    task: Task = "multiclass"
    single_logit: bool = False
    loss: str = "cross_entropy"
    link: Link = "softmax"
    supports_soft_targets: bool = True

    def output_dim(self, num_classes: int) -> int:
        """Return the number of logits for ``num_classes`` classes."""
        if self.single_logit:
            return 1
        return num_classes - 1 if self.link in ("coral", "corn") else num_classes


@dataclass(frozen=True, kw_only=True)
class ReaderSpec(ComponentSpec):
    """Reads files. The factory takes ``(path)`` and returns an image.

    The image has

    - ``pixels``: numbers ``(C, H, W)`` with one or three channels, rows first, or ``(1, X, Y, Z)``;
    - ``affine``: 4 x 4, index to mm in RAS+, or ``None`` where the format has none;
    - ``modality``: as DICOM writes it (``CT``, ``MR``, ``CR``...), or ``other``.

    What it raises refuses that file with the code ``PLUGIN_READER``. It may be called from several
    threads. A bundle holds a copy (``VendoredSource``) or names it (``PublicTarget``); with
    ``GraphOnly`` the bundle cannot read the format, which a run says when it starts.

    Attributes:
        suffixes: file name endings in lower case, with the dot. The longest that fits a name
            decides. One that a built-in format or another plugin has too is an error where a
            file has it.
    """

    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetricSpec(ComponentSpec):
    """Measures. The factory returns a callable ``(labels (N,), probabilities (N, K)) -> float``.

    Attributes:
        greater_is_better: direction.
        bounds: smallest and largest possible value.
    """

    greater_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class ExplainerSpec(ComponentSpec):
    """Explains.

    The factory takes ``(network, **options)`` and returns a callable
    ``(image (1, C, *spatial), class_index) -> {source name: saliency (*spatial)}``. The network has
    ``source_names``. Of several inputs ``image`` is a tuple, NaN where one is missing. Maps of a
    callable with the attribute ``additive = True`` are added up over the sources, too.
    """


@dataclass(frozen=True, kw_only=True)
class ExporterSpec(ComponentSpec):
    """Packages. The factory takes ``(bundle_folder, out_folder, **options)`` and writes there."""
