"""What a backbone is, and what its weights are: the weights are the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medfuse.contract.components import ComponentSpec

Layout = Literal["grid", "channels_last", "tokens"]


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """The input contract of weights, applied inside the network.

    The network receives the canonical image in [0, 1]. It is first scaled to ``input_range``,
    then ``(x - mean) / std`` is taken per channel.

    Attributes:
        input_range: intensities the weights expect before mean and std.
        mean: one value per input channel, or one for all.
        std: one value per input channel, or one for all; never zero.
        scheme: ``fixed``, or ``per_image`` (each image's own mean and standard deviation).
    """

    input_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scheme: Literal["fixed", "per_image"] = "fixed"


@dataclass(frozen=True, kw_only=True)
class WeightsSpec:
    """One set of weights for a backbone. At most one of path, url and hub_id is set.

    Attributes:
        name: the part behind the dot of a source name, for example ``imagenet1k_v1``.
        source_domain: what it was trained on, for example ``natural images``.
        training_data: identifiers of the data sets, for cards, reports and bundles. A comparison
            refuses a cohort of such a name; images that were seen are recognized by ``seen``.
        normalization: the input contract.
        input_size: ``(H, W)`` or ``(H, W, D)`` the weights were trained at.
        size_policy: ``fixed``, ``any``, or ``multiple_of:n``.
        interpolation: ``bilinear`` or ``bicubic`` (2D), ``trilinear`` (3D).
        crop_pct: center crop used in the original evaluation; informative.
        color_order: order of the three channels.
        expected_intensity: ``any``, or a unit such as ``HU``; informative, nothing is checked.
        license: SPDX identifier or ``LicenseRef-...``.
        sha256: digest of the file; checked before loading.
        url: where ``--download`` finds the file.
        path: ``package:file`` inside an installed package, or a file path.
        hub_id: name on a model hub.
        citation: how to cite the weights.
        seen: ``package:file`` of a list of the images they were trained on, one pixel digest
            (`medfuse.data.pixel_digest`) a line, perhaps ``.gz``; a run flags test images in it.
        remap: key prefixes to rewrite, old to new, the longest that fits; an empty new prefix
            removes the old one, ``-`` leaves such keys out.
    """

    name: str
    source_domain: str = "unknown"
    training_data: tuple[str, ...] = ()
    normalization: Normalization = field(default_factory=Normalization)
    input_size: tuple[int, ...] = (224, 224)
    size_policy: str = "any"
    interpolation: Literal["nearest", "bilinear", "bicubic", "trilinear"] = "bilinear"
    crop_pct: float = 1.0
    color_order: Literal["RGB", "BGR"] = "RGB"
    expected_intensity: str = "any"
    license: str = "LicenseRef-unknown"
    sha256: str | None = None
    url: str | None = None
    path: str | None = None
    hub_id: str | None = None
    citation: str = ""
    seen: str | None = None
    remap: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A place where a backbone can be cut or frozen.

    Attributes:
        name: what the configuration says, for example ``blocks.4.0`` or ``layer3``.
        module_path: submodule of the factory's product whose output is the stage.
        feature_dim: channels of that output; 0 where it has to be measured.
        stride: input pixels per output element along an axis; 0 where unknown.
        layout: ``grid`` ``(N, F, *grid)``, ``channels_last`` ``(N, *grid, F)`` or ``tokens``
            ``(N, prefix + T, F)`` with the T tokens of a square grid.
        prefix_tokens: class and register tokens in front of the grid tokens.
    """

    name: str
    module_path: str
    feature_dim: int = 0
    stride: int = 0
    layout: Layout = "grid"
    prefix_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(ComponentSpec):
    """A feature extractor. Its factory takes the options and returns a torch module that maps
    ``(N, in_channels, *spatial)`` to ``(map (N, F, *grid), pooled (N, P) or None)``.

    Attributes:
        spatial_dims: 2 or 3.
        in_channels: channels the weights expect; medfuse adapts the image to it.
        stem: module path of the first convolution or patch embedding.
        stages: from input to output; the names for ``cut`` and ``last:N``.
        native_pooling: the product returns its own pooled vector.
        levels: resolutions whose maps give features where the configuration leaves it open and
            the source is frozen; 1 is the product's own vector alone.
        weights: what can be loaded, the default first.
        open_options: pass undeclared options to the factory.
        measured: ``package:file`` of the table that ``medfuse plugins measure`` wrote: what
            listings show of the network without building it.
    """

    spatial_dims: Literal[2, 3] = 2
    in_channels: int = 3
    stem: str = ""
    stages: tuple[Stage, ...] = ()
    native_pooling: bool = False
    levels: int = 3
    weights: tuple[WeightsSpec, ...] = ()
    open_options: bool = False
    measured: str | None = None


@dataclass(frozen=True, kw_only=True)
class BackboneFamilySpec:
    """A library of backbones too large to list without importing it (timm, torchvision).

    Attributes:
        name: the prefix of its sources: ``timm`` in ``timm:resnet18.a1_in1k``.
        summary: one line.
        describe: ``module:function`` taking an architecture name and returning its
            `BackboneSpec`; raises ``KeyError`` for an unknown name, and ``ValueError`` with the
            reason for one that cannot be a source.
        names: ``module:function`` returning every architecture name.
        requires: distributions that must be installed.
        examples: a few small architectures, which the conformance kit builds and checks.
        plain_names: names that a source may be written with alone, such as ``vgg16``, to the
            member that each stands for: ``architecture`` or ``architecture.weights``.
        measured: ``package:file`` of the table that ``medfuse plugins measure`` wrote: what
            listings show of the members with a plain name without importing the library.
    """

    name: str
    summary: str
    describe: str
    names: str
    requires: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    plain_names: Mapping[str, str] = field(default_factory=dict)
    measured: str | None = None
