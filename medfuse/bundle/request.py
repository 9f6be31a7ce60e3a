"""What a bundle is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from medfuse.evaluation.abstention import Abstention
    from medfuse.model import FusedNetwork

Node = Mapping[str, Any]
LabelWeights: TypeAlias = 'Literal["none", "balanced"] | tuple[float, ...]'
IMAGE = "image"

_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy"),
    "volume": (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".tif", ".tiff", ".npy"),
    "tabular": (".csv",),
}


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input of the network, as preprocessing leaves it: float32, images in [0, 1].

    Attributes:
        name: of the input in the configuration, and in the bundle where there are several.
        kind: an image ``(C, H, W)``, a volume ``(C, H, W, D)`` or a table row ``(P,)``.
        channels: C, or P of a table row.
        size: ``(H, W)``, ``(H, W, D)``, or ``()`` of a table row; fixed.
        modality: ``XR``, ``CT``, ``MR`` or ``other``.
        columns: of a table row, the columns of a case table that it is made of.
    """

    name: str = IMAGE
    kind: Literal["image", "volume", "tabular"] = "image"
    channels: int
    size: tuple[int, ...] = ()
    modality: str = "other"
    columns: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one case, without the batch axis."""
        return (self.channels, *self.size)


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """Where one source's weights come from.

    Attributes:
        label: unique display name.
        license: SPDX expression, or ``LicenseRef-...``.
        digest: SHA-256 of the weights.
        package: distribution of the plugin that offers the source.
        version: of that distribution.
        libraries: versions of the distributions that its network is built from.
        plugin: name of the plugin.
        backbone: name of the network in it.
        weights: name of the weights; empty of a file of one's own.
        options: of the network, as it was built.
        cut: module at which it ends; empty of a whole network.
        domain: what the weights were trained on.
        training_data: identifiers of their data sets.
        citation: how to cite the weights.
        reading: how their file was read, where more was done than copying its tensors: part of
            the file, rewritten prefixes of keys and their format, another number of channels.
        trained: whether the weights changed while this bundle was trained.
        earlier: of weights out of another bundle: its name, their place and digest there, and
            where that one had them from.
    """

    label: str
    license: str
    digest: str
    package: str = ""
    version: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    plugin: str = ""
    backbone: str = ""
    weights: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    cut: str = ""
    domain: str = ""
    training_data: tuple[str, ...] = ()
    citation: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    trained: bool = False
    earlier: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the bundle was made from; no case, patient or path is named.

    Attributes:
        sources: one record per source.
        split_digest: of the split file.
        seen: pixel digests of the images that were learned from, by who learned from them.
        details: further plain data (JSON) to keep, for example how many duplicates were dropped.
    """

    sources: tuple[SourceRecord, ...]
    split_digest: str = ""
    seen: Mapping[str, frozenset[str]] = field(default_factory=dict)
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
        inputs: in the order in which the network takes them.
        preprocessing_nodes: by input name, the MONAI nodes that take a reference under ``image``
            to what the network sees; the bundle puts its own key there.
        augmentation_nodes: further nodes for training images only, by input name.
        classes: names in the order of the logits.
        all_inputs_needed: the fusion cannot leave out an input that a case lacks.
        abstention: when the bundle gives no answer; ``None`` where it always does.
        link: how logits become probabilities; ``sigmoid`` of labels that exclude nothing.
        codes: by class, its standard code: ``value``, ``scheme`` and ``meaning``. Any may lack one.
        thresholds: with ``sigmoid``, from which probability on each label holds; 0.5 if empty.
        label_weights: with ``sigmoid``, the factor on the loss of each label's positive answers in
            fine-tuning, as ``training.class_weights``; ``balanced`` is made of the new cases.
        license: SPDX expression of the bundle; ``None`` takes the strictest of its parts.
        accepted_licenses: those that restrict the use of a part, and were accepted.
        provenance: what it was made from.
        metrics: plain data, measured on the test cases.
        examples: cases for the parity check, which are not stored: a reference each, or references
            by input name where there are several inputs.
        data: what the training data are, in a sentence or two.
        authors: who made it.
        copyright: whose it is; made from the authors if empty.
        version: of the bundle.
        description: one paragraph.
        references: papers to cite, beside those of the sources.
        graphs: write ``model.ts`` and ``model.onnx`` too.
        suffixes: endings of the files that the bundle lists as images; if empty, all that the
            reader of this kind takes.
        plugin_suffixes: further ones, of the plugins' readers that the bundle holds.
    """

    name: str
    network: FusedNetwork
    network_node: Node | None
    preprocessing_nodes: Mapping[str, tuple[Node, ...]]
    inputs: tuple[InputSpec, ...]
    classes: tuple[str, ...]
    provenance: Provenance
    vendored: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    graph_only: tuple[str, ...] = ()
    augmentation_nodes: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    all_inputs_needed: bool = False
    abstention: Abstention | None = None
    link: Literal["softmax", "sigmoid"] = "softmax"
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    thresholds: tuple[float, ...] = ()
    label_weights: LabelWeights = "none"
    license: str | None = None
    accepted_licenses: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[str | Mapping[str, str], ...] = ()
    data: str = "Not described."
    authors: str = "Not named."
    copyright: str = ""
    version: str = "0.1.0"
    description: str = ""
    references: tuple[str, ...] = ()
    graphs: bool = True
    suffixes: tuple[str, ...] = ()
    plugin_suffixes: tuple[str, ...] = ()

    @property
    def keyed(self) -> dict[str, InputSpec]:
        """The inputs by the key that they have in the bundle: ``image`` where there is only one.

        MONAI Label, MONAI Deploy and MONAI's own checks know no other key.
        """
        if len(self.inputs) == 1:
            return {IMAGE: self.inputs[0]}
        return {spec.name: spec for spec in self.inputs}

    @property
    def from_table(self) -> bool:
        """Whether a folder of cases needs a table: several inputs, or columns."""
        return len(self.inputs) > 1 or self.inputs[0].kind == "tabular"

    @property
    def part_licenses(self) -> dict[str, str]:
        """The SPDX expression of each source's weights."""
        return {f"source {one.label}": one.license for one in self.provenance.sources}

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of the files that the bundle lists, in lower case."""
        return (*(self.suffixes or _SUFFIXES[self.inputs[0].kind]), *self.plugin_suffixes)
