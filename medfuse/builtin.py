"""The built-in components: a plugin like any other, and the one table of all that ships."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from medfuse.contract import (
    DecisionFusionSpec,
    ExplainerSpec,
    FeatureFusionSpec,
    GraphOnly,
    HeadSpec,
    Option,
    VendoredSource,
    hookimpl,
)

MEDFUSE_API = 1

_NOISE = Option(
    name="noise",
    kind="float",
    default=0.0,
    minimum=0.0,
    maximum=10.0,
    summary="standard deviation of Gaussian noise on the standardized input, in training",
)
_DROPOUT = Option(
    name="dropout",
    kind="float",
    default=0.0,
    minimum=0.0,
    maximum=0.95,
    summary="fraction of units set to zero in training",
)


_SHARPNESS = Option(
    name="sharpness",
    kind="float",
    default=0.25,
    minimum=0.0,
    maximum=100.0,
    summary="largest score of a source: how clearly a case may choose",
)
_WIDTH = Option(
    name="width",
    kind="int",
    default=64,
    minimum=1,
    maximum=4096,
    summary="width of the fused features",
)
_HIDDEN_KEYS = replace(_DROPOUT, default=0.5, summary="fraction of features hidden from the keys")
_ATTENTION_OPTIONS = (
    Option(name="heads", kind="int", default=4, minimum=1, maximum=64, summary="attention heads"),
    Option(
        name="width",
        kind="int",
        default=32,
        minimum=1,
        maximum=4096,
        summary="width of the keys, a multiple of heads",
    ),
    _SHARPNESS,
    _HIDDEN_KEYS,
)


_HIDDEN = Option(
    name="hidden",
    kind="int",
    default=256,
    minimum=1,
    maximum=65536,
    summary="width of the hidden layer",
)
_GRADING_OPTIONS = (
    replace(_HIDDEN, minimum=0, summary="width of the hidden layer; 0 for none"),
    replace(_NOISE, default=1.0),
    replace(_DROPOUT, default=0.5),
)
_PRESENCE = "medfuse.fusion.presence"
_NOISE_LAYER = "medfuse.heads.noise"
_LAYERS = ("medfuse.heads.layers", "medfuse.heads.linear", "medfuse.heads.mlp", _NOISE_LAYER)


def _vendored(*modules: str) -> VendoredSource:
    return VendoredSource(modules=modules, allowed_imports=("torch",))


_FEATURE_FUSIONS = (
    FeatureFusionSpec(
        name="concat",
        summary="all features side by side",
        factory="medfuse.fusion.concat:ConcatFusion",
        export=_vendored("medfuse.fusion.concat", _PRESENCE),
        handles_missing=True,
    ),
    FeatureFusionSpec(
        name="weighted",
        summary="one learned weight per source",
        factory="medfuse.fusion.weighted:WeightedFusion",
        options=(
            Option(
                name="width",
                kind="int",
                default=0,
                minimum=0,
                maximum=4096,
                summary="project every source to this width and add up; 0 keeps all features",
            ),
            replace(_DROPOUT, default=0.3, summary="fraction hidden from the projections"),
        ),
        export=_vendored("medfuse.fusion.weighted", _PRESENCE),
        handles_missing=True,
    ),
    FeatureFusionSpec(
        name="gated",
        summary="a gating network weighs the sources case by case",
        factory="medfuse.fusion.gated:GatedFusion",
        options=(
            Option(
                name="hidden",
                kind="int",
                default=16,
                minimum=1,
                maximum=4096,
                summary="width of the code that the gate sees of each source",
            ),
            _SHARPNESS,
            replace(_DROPOUT, default=0.5, summary="fraction of features hidden from the gate"),
        ),
        export=_vendored("medfuse.fusion.gated", _PRESENCE),
        handles_missing=True,
    ),
    FeatureFusionSpec(
        name="attention",
        summary="multi-head attention weighs the sources case by case",
        factory="medfuse.fusion.attention:AttentionFusion",
        options=_ATTENTION_OPTIONS,
        export=_vendored("medfuse.fusion.attention", _PRESENCE),
        handles_missing=True,
    ),
    FeatureFusionSpec(
        name="attention_maps",
        summary="multi-head attention over the places of all sources' feature maps",
        factory="medfuse.fusion.attention_maps:AttentionMapsFusion",
        options=_ATTENTION_OPTIONS,
        export=_vendored("medfuse.fusion.attention_maps", _PRESENCE),
        accepts="maps",
        handles_missing=True,
    ),
    FeatureFusionSpec(
        name="low_rank",
        summary="sums and products of all sources: a bilinear fusion of low rank",
        factory="medfuse.fusion.low_rank:LowRankFusion",
        options=(
            _WIDTH,
            Option(
                name="rank",
                kind="int",
                default=4,
                minimum=1,
                maximum=64,
                summary="products that are added up",
            ),
            replace(_DROPOUT, default=0.5, summary="fraction hidden from the projections"),
        ),
        export=_vendored("medfuse.fusion.low_rank", _PRESENCE),
        handles_missing=True,
    ),
    FeatureFusionSpec(
        name="mixture_of_experts",
        summary="experts whose answers a gating network mixes case by case",
        factory="medfuse.fusion.mixture_of_experts:MixtureOfExpertsFusion",
        options=(
            Option(
                name="experts",
                kind="int",
                default=0,
                minimum=0,
                maximum=64,
                summary="experts that see all features; 0 gives each source one of its own",
            ),
            replace(_WIDTH, default=128),
            replace(_SHARPNESS, default=1.0, summary="largest score of an expert"),
            replace(_DROPOUT, default=0.5, summary="fraction hidden from experts and gate"),
        ),
        export=_vendored("medfuse.fusion.mixture_of_experts", _PRESENCE),
        handles_missing=True,
    ),
)

_DECISION_FUSIONS = (
    DecisionFusionSpec(
        name="average",
        summary="mean of the probabilities of one head per source",
        factory="medfuse.fusion.average:AverageFusion",
        export=_vendored("medfuse.fusion.average"),
        handles_missing=True,
    ),
    DecisionFusionSpec(
        name="weighted_average",
        summary="learned weighted mean of the probabilities of one head per source",
        factory="medfuse.fusion.weighted_average:WeightedAverageFusion",
        export=_vendored("medfuse.fusion.weighted_average"),
        handles_missing=True,
        fitting="out_of_fold",
    ),
    DecisionFusionSpec(
        name="stacking",
        summary="logistic regression on the decisions of one head per source",
        factory="medfuse.fusion.stacking:StackingFusion",
        export=_vendored("medfuse.fusion.stacking"),
        handles_missing=True,
        fitting="out_of_fold",
    ),
)

_HEADS = (
    HeadSpec(
        name="linear",
        summary="one linear layer: logistic regression",
        factory="medfuse.heads.linear:LinearHead",
        options=(_NOISE, _DROPOUT),
        export=_vendored("medfuse.heads.linear", _NOISE_LAYER),
    ),
    HeadSpec(
        name="mlp",
        summary="Gaussian noise, one hidden layer, batch norm, dropout",
        factory="medfuse.heads.mlp:MlpHead",
        options=(_HIDDEN, replace(_NOISE, default=1.0), replace(_DROPOUT, default=0.5)),
        export=_vendored("medfuse.heads.mlp", _NOISE_LAYER),
    ),
    HeadSpec(
        name="sigmoid",
        summary="a single logit for two classes",
        factory="medfuse.heads.sigmoid:SigmoidHead",
        options=(_NOISE, _DROPOUT),
        export=_vendored("medfuse.heads.sigmoid", _NOISE_LAYER),
        single_logit=True,
        loss="binary_cross_entropy",
        link="sigmoid_pair",
    ),
    HeadSpec(
        name="prototype",
        summary="nearness to one learned prototype of each class; for few cases",
        factory="medfuse.heads.prototype:PrototypeHead",
        options=(
            Option(
                name="distance",
                kind="str",
                default="cosine",
                choices=("cosine", "euclidean"),
                summary="what nearness is",
            ),
            Option(
                name="scale",
                kind="float",
                default=10.0,
                minimum=0.01,
                maximum=1000.0,
                summary="where the learned factor on the nearness starts",
            ),
            _NOISE,
            _DROPOUT,
        ),
        export=_vendored("medfuse.heads.prototype", _NOISE_LAYER),
    ),
    HeadSpec(
        name="multilabel",
        summary="several labels per case, each by a sigmoid of its own",
        factory="medfuse.heads.multilabel:MultilabelHead",
        options=_GRADING_OPTIONS,
        export=_vendored("medfuse.heads.multilabel", *_LAYERS),
        task="multilabel",
        loss="binary_cross_entropy",
        link="sigmoid",
    ),
    HeadSpec(
        name="coral",
        summary="ordered grades by one score and ordered thresholds",
        factory="medfuse.heads.coral:CoralHead",
        options=_GRADING_OPTIONS,
        export=_vendored("medfuse.heads.coral", *_LAYERS),
        task="ordinal",
        loss="coral",
        link="coral",
        supports_soft_targets=False,
    ),
    HeadSpec(
        name="corn",
        summary="ordered grades step by step, each with weights of its own",
        factory="medfuse.heads.corn:CornHead",
        options=_GRADING_OPTIONS,
        export=_vendored("medfuse.heads.corn", *_LAYERS),
        task="ordinal",
        loss="corn",
        link="corn",
        supports_soft_targets=False,
    ),
)


_LAYER = Option(
    name="layer",
    kind="str",
    default="auto",
    summary="auto (every map that the features are read from), last, or a module of the backbone",
)
_IN_MEDFUSE = GraphOnly(reason="explains with medfuse installed")
_EXPLAINERS = (
    ExplainerSpec(
        name="gradcam",
        summary="Grad-CAM on the maps that each source's features are read from",
        factory="medfuse.explanation.grad_cam:grad_cam",
        options=(_LAYER,),
        export=_IN_MEDFUSE,
    ),
    ExplainerSpec(
        name="gradcam_pp",
        summary="Grad-CAM++: evidence for a class alone, which several findings share evenly",
        factory="medfuse.explanation.grad_cam:grad_cam_plus_plus",
        options=(_LAYER,),
        export=_IN_MEDFUSE,
    ),
    ExplainerSpec(
        name="occlusion",
        summary="fall of the log-odds as a patch is hidden; slow, works for every network",
        factory="medfuse.explanation.occlusion:occlusion",
        options=(
            Option(
                name="patch",
                kind="float",
                default=0.125,
                minimum=0.01,
                maximum=1.0,
                summary="side of the patch, as a fraction of the image's",
            ),
            Option(
                name="overlap",
                kind="float",
                default=0.5,
                minimum=0.0,
                maximum=0.9,
                summary="of neighboring patches; more is finer and slower",
            ),
            Option(
                name="fill",
                kind="str",
                default="blur",
                choices=("blur", "blur_to_black", "mean_patch", "mean_image"),
                summary="what the patch is replaced with",
            ),
        ),
        export=_IN_MEDFUSE,
    ),
    ExplainerSpec(
        name="attention",
        summary="attention rollout of vision transformers; other sources are left out",
        factory="medfuse.explanation.rollout:attention_rollout",
        export=_IN_MEDFUSE,
    ),
)


@hookimpl
def medfuse_fusions() -> Iterable[FeatureFusionSpec | DecisionFusionSpec]:
    """Yield the built-in fusions of features, then those of decisions."""
    yield from _FEATURE_FUSIONS
    yield from _DECISION_FUSIONS


@hookimpl
def medfuse_heads() -> Iterable[HeadSpec]:
    """Yield the built-in heads."""
    yield from _HEADS


@hookimpl
def medfuse_explainers() -> Iterable[ExplainerSpec]:
    """Yield the built-in saliency methods."""
    yield from _EXPLAINERS
