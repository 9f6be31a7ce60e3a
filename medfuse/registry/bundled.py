"""A bundle as a source: ``bundle:PATH`` names the networks in it, ``bundle:PATH#2`` the second.

Nothing of a bundle is executed. What it declares of a network (its name, options, where it ends,
what it is fed) is read as data; the network is built by the installed plugin of that name, and its
weights are taken out of ``models/model.pt`` like those of any other file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medfuse.checksums import check_file, read_digests
from medfuse.contract import Normalization, WeightsSpec
from medfuse.errors import SourceError
from medfuse.registry.described import Described, PlainOptions
from medfuse.suggest import did_you_mean

PREFIX = "bundle:"
SEEN = "docs/seen_images.txt"
OWN_TRAINING = "this bundle's training"

_METADATA, _NETWORK = "configs/metadata.json", "configs/inference.json"
_WEIGHTS = "models/model.pt"
_TASK = "Classification of "
_WRAPPERS = {"LevelsBackbone": "backbone.", "CutBackbone": "body."}
_Size = tuple[Annotated[int, Field(ge=1, le=4096)], ...]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Record(_Part):
    """What a bundle says of one source; see `medfuse.bundle.request.SourceRecord`."""

    label: str
    license: str
    digest: str = ""
    backbone: str = ""
    options: PlainOptions = {}
    cut: str = ""
    domain: str = ""
    training_data: tuple[str, ...] = ()
    citation: str = ""
    trained: bool = True
    earlier: dict[str, Any] = {}


class _Provenance(_Part):
    format: Literal[1]
    license: str
    sources: tuple[_Record, ...]
    split_digest: str = ""


class _Adapter(_Part):
    """The input contract that the source had; see `medfuse.backbones.adapter.Adapter`."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    input_range: tuple[float, float] = (0.0, 1.0)
    per_image: bool = False
    color_order: Literal["RGB", "BGR"] = "RGB"
    interpolation: Literal["nearest", "bilinear", "bicubic", "trilinear"] = "bilinear"
    image_size: _Size = ()
    size: _Size | None = None


@dataclass(frozen=True)
class _Bundle:
    """What was read of a bundle.

    Attributes:
        root: its folder.
        given: the path as it was given.
        name: of the bundle.
        subject: what it classifies, in words.
        provenance: its ``medfuse`` block.
        nodes: the configuration of each source.
        inputs: position of the input that each source reads.
        digests: of its files.
    """

    root: Path
    given: str
    name: str
    subject: str
    provenance: _Provenance
    nodes: tuple[Any, ...]
    inputs: tuple[int, ...]
    digests: Mapping[str, str]

    def networks(self) -> Iterator[tuple[int, _Record]]:
        """Yield number, from 1, and record of the sources that are networks, not tables."""
        for number, record in enumerate(self.provenance.sources, 1):
            if record.backbone:
                yield number, record

    def use(self, number: int) -> str:
        """Return how a configuration names one source."""
        return f"{PREFIX}{self.given}#{number}"


def is_bundled(use: str) -> bool:
    """Return whether a text names a bundle."""
    return use.startswith(PREFIX)


def bundled_uses(use: str) -> tuple[str, ...]:
    """Return the name of every source that a text stands for: all networks of a bundle.

    Any other text stands for itself.

    Raises:
        SourceError: no bundle of medfuse, one without weights, or its sources read several inputs.
        BundleError: it was changed or is damaged.
    """
    if not is_bundled(use) or _divided(use)[1]:
        return (use,)
    bundle = _read(_divided(use)[0])
    numbers = [number for number, _ in bundle.networks()]
    if len(numbers) < 2:
        return (use,)
    if len({bundle.inputs[number - 1] for number in numbers}) > 1:
        raise SourceError(
            f"source {use}: its sources read several inputs. Name each, with its input: "
            f"{_choices(bundle)}."
        )
    return tuple(bundle.use(number) for number in numbers)


def bundle_folder(use: str) -> Path:
    """Return the folder of the bundle that ``bundle:PATH`` names.

    Raises:
        SourceError: there is none.
    """
    return _root(_divided(use)[0])


def described_bundle(use: str) -> Described:
    """Return what a bundle says of one network in it.

    Args:
        use: ``bundle:PATH``, where it has one network; ``bundle:PATH#PART``, where ``PART`` is
            the number of the source or its name.

    Raises:
        SourceError: no bundle of medfuse, no such source, or a description that cannot be used.
        BundleError: it was changed or is damaged.
    """
    path, part = _divided(use)
    bundle = _read(path)
    number, record = _chosen(bundle, part, use)
    node = bundle.nodes[number - 1]
    return Described(
        backbone=f"{record.label.partition(':')[0]}:{record.backbone}",
        weights=_weights(bundle, number, record, _contract(node, use)),
        options=record.options,
        cut=record.cut or None,
        use=use,
        label=bundle.root.name,
        learners=(*((OWN_TRAINING,) if record.trained else ()), record.label),
        earlier={
            "bundle": bundle.name,
            "source": record.label,
            "weights": record.digest,
            "split_digest": bundle.provenance.split_digest,
            "trained": record.trained,
            **({"earlier": record.earlier} if record.earlier else {}),
        },
    )


def _divided(use: str) -> tuple[str, str]:
    """Return the path, and what stands behind ``#``; a folder may have that sign in its name."""
    text = use.removeprefix(PREFIX)
    path, mark, part = text.rpartition("#")
    if not mark or _is_folder(text):
        return text, ""
    return path, part


def _is_folder(text: str) -> bool:
    try:
        return Path(text).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):
        return False


def _read(given: str) -> _Bundle:
    """Return what the files of a bundle say, if they are as they were written."""
    root = _root(given)
    digests = read_digests(root)
    metadata, network = (_json(root, name, digests) for name in (_METADATA, _NETWORK))
    if not isinstance(metadata.get("medfuse"), dict):
        raise SourceError(
            f"{root}: was not written by medfuse, so nobody knows which networks are in it. Give "
            "the file of its weights: plugin:name@FILE."
        )
    try:
        provenance = _Provenance.model_validate(metadata["medfuse"])
    except ValidationError as error:
        raise SourceError(f"{root / _METADATA}: medfuse.{_problem(error)}") from error
    found = network.get("network_def")
    definition: dict[str, Any] = found if isinstance(found, dict) else {}
    nodes = _nodes(definition, root, digests, len(provenance.sources))
    subject = str(metadata.get("task", "")).removeprefix(_TASK)
    name = str(metadata.get("name") or root.name)
    return _Bundle(
        root,
        given,
        name,
        subject,
        provenance,
        tuple(nodes),
        _inputs(definition, len(nodes)),
        digests,
    )


def _nodes(
    definition: Mapping[str, Any], root: Path, digests: Mapping[str, str], expected: int
) -> list[Any]:
    nodes = definition.get("sources")
    if _WEIGHTS not in digests or not isinstance(nodes, list):
        raise SourceError(
            f"{root}: exists only as a graph, so no network can be taken out of it. Use its "
            "sources as they were before."
        )
    if len(nodes) != expected:
        raise SourceError(
            f"{root}: its configuration has {len(nodes)} sources, its metadata {expected}. "
            "Copy the bundle again."
        )
    return nodes


def _inputs(definition: Mapping[str, Any], sources: int) -> tuple[int, ...]:
    """Return the position of the input that each source reads."""
    found = definition.get("inputs")
    if not isinstance(found, list) or len(found) != sources:
        return (0,) * sources
    return tuple(position if isinstance(position, int) else 0 for position in found)


def _root(given: str) -> Path:
    """Return the folder of a bundle, or of the one in a run's folder."""
    if _is_folder(given):
        folder = Path(given).expanduser()
        if (folder / _METADATA).is_file():
            return folder
        found = sorted(path.parents[1] for path in folder.glob(f"bundle/*/{_METADATA}"))
        if len(found) == 1:
            return found[0]
    raise SourceError(
        f"source {PREFIX}{given}: expected a folder that 'medfuse train' has finished, or the "
        "bundle in it, <name>_classification. Check the path."
    )


def _json(root: Path, name: str, digests: Mapping[str, str]) -> dict[str, Any]:
    file = root / name
    check_file(file, digests.get(name, ""))
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{file}: cannot be read as JSON. Copy the bundle again.") from error
    return data if isinstance(data, dict) else {}


def _chosen(bundle: _Bundle, part: str, use: str) -> tuple[int, _Record]:
    """Return number and record of the source that a part of the text names."""
    networks = list(bundle.networks())
    if not part and len(networks) == 1:
        return networks[0]
    names = {number: (str(number), record.label, record.backbone) for number, record in networks}
    found = [(number, record) for number, record in networks if part in names[number]]
    if len(found) == 1 and part:
        return found[0]
    what = f"{part!r} is no one of them" if part else f"{len(networks)} networks are in it"
    known = [name for each in names.values() for name in each[1:]]
    raise SourceError(
        f"source {use}: {what}. Name one: {_choices(bundle) or 'there is none'}."
        f"{did_you_mean(part, known) if part else ''}"
    )


def _choices(bundle: _Bundle) -> str:
    return ", ".join(f"{bundle.use(number)} ({one.label})" for number, one in bundle.networks())


def _contract(node: Any, use: str) -> tuple[_Adapter, str]:
    """Return what the network is fed, and the beginning of its keys below the source's."""
    prefix = ""
    if isinstance(node, dict) and "source" in node:  # of slices
        node, prefix = node["source"], "source."
    backbone = node.get("backbone") if isinstance(node, dict) else None
    try:
        adapter = _Adapter.model_validate(node["adapter"])
    except (ValidationError, KeyError, TypeError) as error:
        why = _problem(error) if isinstance(error, ValidationError) else "is absent."
        raise SourceError(f"source {use}: the adapter in its configuration: {why}") from error
    prefix += "backbone."
    while isinstance(backbone, dict):
        prefix += _WRAPPERS.get(str(backbone.get("_target_", "")).rpartition(".")[2], "")
        backbone = backbone.get("backbone")
    return adapter, prefix


def _weights(
    bundle: _Bundle, number: int, record: _Record, contract: tuple[_Adapter, str]
) -> WeightsSpec:
    adapter, prefix = contract
    if not (bundle.root / _WEIGHTS).is_file():
        raise SourceError(
            f"{bundle.root / _WEIGHTS}: absent, expected the weights. Copy the bundle again."
        )
    seen = bundle.root / SEEN
    if seen.is_file() or SEEN in bundle.digests:
        check_file(seen, bundle.digests.get(SEEN, ""))
    return WeightsSpec(
        name=bundle.name,
        source_domain=_domain(bundle, record),
        training_data=(*record.training_data, *_own_data(bundle, record)),
        normalization=Normalization(
            input_range=adapter.input_range,
            mean=adapter.mean,
            std=adapter.std,
            scheme="per_image" if adapter.per_image else "fixed",
        ),
        input_size=adapter.size or adapter.image_size,
        interpolation=adapter.interpolation,
        color_order=adapter.color_order,
        license=_both(record.license, bundle.provenance.license),
        sha256=bundle.digests[_WEIGHTS],
        path=str(bundle.root / _WEIGHTS),
        citation=record.citation,
        seen=str(seen) if seen.is_file() else None,
        remap={"": "-", f"sources.{number - 1}.{prefix}": ""},
    )


def _domain(bundle: _Bundle, record: _Record) -> str:
    if not record.trained or not bundle.subject:
        return record.domain
    before = "" if record.domain in ("", "none") else f"{record.domain}, then "
    return before + bundle.subject


def _own_data(bundle: _Bundle, record: _Record) -> tuple[str, ...]:
    """Return an identifier of the cases that a bundle learned from, if this source did too."""
    digest = bundle.provenance.split_digest
    return (f"{bundle.name} (split {digest[:12]})",) if record.trained and digest else ()


def _both(one: str, other: str) -> str:
    """Return the SPDX expression of weights that two licenses hold for."""
    parts = dict.fromkeys(f"({text})" if " OR " in text else text for text in (one, other))
    return one if one == other else " AND ".join(parts)


def _problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg'][:1].lower()}{problem['msg'][1:]}."
