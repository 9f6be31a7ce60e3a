"""What a bundle is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from medfuse.model import FusedNetwork

Node = Mapping[str, Any]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy")


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The canonical image that the network takes: float32 in [0, 1].

    Attributes:
        channels: C of ``(N, C, *spatial)``.
        size: ``(H, W)`` or ``(H, W, D)``, fixed.
        modality: ``XR``, ``CT``, ``MR`` or ``other``.
    """

    channels: int
    size: tuple[int, ...]
    modality: str = "other"


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """Where one source's weights come from.

    Attributes:
        label: unique display name.
        license: SPDX expression, or ``LicenseRef-...``.
        digest: SHA-256 of the weights.
        package: distribution that provides the architecture.
        version: of that distribution.
        domain: what the weights were trained on.
        training_data: identifiers of their data sets.
        citation: how to cite the weights.
    """

    label: str
    license: str
    digest: str
    package: str = ""
    version: str = ""
    domain: str = ""
    training_data: tuple[str, ...] = ()
    citation: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the bundle was made from; no case, patient or path is named.

    Attributes:
        sources: one record per source.
        split_digest: of the split file.
        details: further plain data (JSON) to keep, for example how many duplicates were dropped.
    """

    sources: tuple[SourceRecord, ...]
    split_digest: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """Everything that `write_bundle` needs.

    Attributes:
        name: the folder becomes ``<name>_classification``.
        network: the trained network.
        network_node: MONAI configuration node that rebuilds it without weights, or ``None`` where
            a part exists only as a traced graph.
        graph_only: why there is no node, one reason for each such part.
        vendored: modules whose source the nodes need, in ``scripts``.
        requires: distributions that the nodes need beside torch, numpy and MONAI.
        preprocessing_nodes: MONAI nodes from a file name under ``image`` to the canonical image.
        augmentation_nodes: further nodes for training images only.
        input: the canonical image.
        classes: names in the order of the logits.
        link: how logits become probabilities.
        license: SPDX expression of the bundle; ``None`` takes the strictest of its parts.
        provenance: what it was made from.
        metrics: plain data, measured on the test cases.
        examples: references of images for the parity check; they are not stored.
        data: what the training data are, in a sentence or two.
        authors: who made it.
        version: of the bundle.
        description: one paragraph.
        suffixes: endings of the files that the bundle lists as images.
    """

    name: str
    network: FusedNetwork
    network_node: Node | None
    preprocessing_nodes: tuple[Node, ...]
    input: InputSpec
    classes: tuple[str, ...]
    provenance: Provenance
    vendored: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    graph_only: tuple[str, ...] = ()
    augmentation_nodes: tuple[Node, ...] = ()
    link: Literal["softmax", "sigmoid"] = "softmax"
    license: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    data: str = "Not described."
    authors: str = "Not named."
    version: str = "0.1.0"
    description: str = ""
    suffixes: tuple[str, ...] = _SUFFIXES
