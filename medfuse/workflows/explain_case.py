"""One case: what each source looked at, how much it counts, and whether the map holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.pixel_digest import pixel_digest
from medfuse.data.volume_file import read_volume
from medfuse.errors import BundleError, CohortError
from medfuse.explanation.occlusion import is_graph
from medfuse.explanation.scores import energy_inside, faithfulness, points_at
from medfuse.explanation.shares import fusion_shares, source_effects
from medfuse.explanation.view import seeing
from medfuse.preprocessing.placement import Placement, placement_of
from medfuse.serving.cases import NamedCase
from medfuse.serving.refusal import Refusal
from medfuse.workflows.explain_subject import Explain, Subject, inputs_on_device

FUSED = "all sources"


@dataclass(frozen=True)
class AskedCase:
    """A case that is to be explained.

    Attributes:
        case: its name and its files.
        label: its class, or its labels joined by ``;``; empty if unknown.
        mask: file of the finding; ``None`` where none is known.
    """

    case: NamedCase
    label: str = ""
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """What one source looked at.

    Attributes:
        source: its name, `FUSED` for the sum over all sources of one input, or ``network``.
        method: name of the explainer.
        input: name of the input that it lies on.
        values: ``(*spatial)`` on the grid of the file, in units of the method.
        scores: ``deletion``, ``insertion``, ``points_at``, ``energy_inside``; those that are known.
    """

    source: str
    method: str
    input: str
    values: NDArray[np.float32]
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CaseExplanation:
    """Everything that is said of one case.

    Attributes:
        case: as the caller named it.
        key: digest of its canonical inputs, by which its files are named; it tells no patient.
        label: its class, or its labels joined by ``;``; empty if unknown.
        reason_code: why it was refused; empty if it was not.
        reason: the same in a sentence.
        predicted: the most probable class; of several labels those that hold, perhaps none.
        probabilities: by class.
        explained: the class that the maps speak for.
        shares: by source, in the fusion; empty where it has none.
        effects: by source, fall of the log-odds without it.
        maps: of every source and method.
        placements: by input, the file's picture and grid.
        masks: by input, where the finding is known to be.
    """

    case: str
    key: str = ""
    label: str = ""
    reason_code: str = ""
    reason: str = ""
    predicted: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    explained: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    effects: Mapping[str, float] = field(default_factory=dict)
    maps: Sequence[SaliencyMap] = ()
    placements: Mapping[str, Placement] = field(default_factory=dict)
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReadCase:
    """A case as the network gets it: its canonical inputs and the digest of them."""

    asked: AskedCase
    images: tuple[Tensor, ...]
    key: str


def read_case(subject: Subject, asked: AskedCase) -> ReadCase | CaseExplanation:
    """Return a case as the network gets it, or why it is refused."""
    items = subject.predictor.canonical(asked.case)
    if isinstance(items, Refusal):
        return CaseExplanation(
            asked.case.name, label=asked.label, reason_code=items.code, reason=str(items)
        )
    images = inputs_on_device(subject, items)
    joined = "".join(pixel_digest(np.ascontiguousarray(x.cpu().numpy())) for x in images)
    return ReadCase(asked, images, pixel_digest(np.frombuffer(joined.encode(), np.uint8))[:12])


def explain_case(
    subject: Subject,
    read: ReadCase,
    explainers: Mapping[str, Explain],
    wanted: int | None = None,
    check: bool = False,
) -> CaseExplanation:
    """Return the explanation of a case.

    Args:
        subject: the model.
        read: the case.
        explainers: by name.
        wanted: index of the class; the most probable one if ``None``.
        check: measure deletion and insertion of every map.

    Raises:
        BundleError: no source of the case can be explained by these methods.
        CohortError: its mask does not fit its image.
    """
    chances = _probabilities(subject, read.images)[0]
    index = int(chances.argmax()) if wanted is None else wanted
    named = dict(zip(subject.classes, chances.tolist(), strict=True))
    places = {
        name: placement_of(steps, read.asked.case.items[name])
        for name, steps in subject.steps.items()
        if name in read.asked.case.items
    }
    masks = _masks(read.asked, places)
    found = [
        _placed(raw, places, masks, _scores(subject, read, raw, index) if check else {})
        for raw in _raw_maps(subject, read, explainers, index)
    ]
    graph = is_graph(subject.network)
    shares = None if graph else fusion_shares(subject.network, read.images)
    effects = [] if graph else source_effects(subject.network, read.images, index)
    return CaseExplanation(
        case=read.asked.case.name,
        key=read.key,
        label=read.asked.label,
        predicted=subject.predictor.decide(named),
        probabilities=named,
        explained=subject.classes[index],
        shares=dict(zip(subject.sources, shares or (), strict=False)),
        effects=dict(zip(subject.sources, effects, strict=False)),
        maps=found,
        placements=places,
        masks=masks,
    )


@dataclass(frozen=True, eq=False)
class _RawMap:
    source: str
    method: str
    input: str
    values: Tensor


def _raw_maps(
    subject: Subject, read: ReadCase, explainers: Mapping[str, Explain], index: int
) -> list[_RawMap]:
    """Return all maps on the canonical grid; where the unit allows it, their sum by input too."""
    several = len(read.images) > 1
    image: Any = read.images if several else read.images[0]
    found: list[_RawMap] = []
    for method, explain in explainers.items():
        maps = explain(image, index)
        own = [_RawMap(s, method, subject.input_of(s), v) for s, v in maps.items()]
        found += own
        for name in subject.steps if getattr(explain, "additive", False) else ():
            parts = [one.values for one in own if one.input == name]
            if len(parts) > 1:
                found.append(_RawMap(FUSED, method, name, torch.stack(parts).sum(0)))
    if not found and (is_graph(subject.network) or seeing(subject.network, read.images)):
        raise BundleError(
            f"{subject.bundle}: {', '.join(explainers)} can explain none of its sources "
            f"({', '.join(subject.sources) or 'a traced graph'}). Use --method occlusion."
        )
    return found


def _placed(
    raw: _RawMap,
    places: Mapping[str, Placement],
    masks: Mapping[str, NDArray[np.bool_]],
    scores: Mapping[str, float],
) -> SaliencyMap:
    values = places[raw.input].back(raw.values.cpu().numpy())
    known = dict(scores)
    mask = masks.get(raw.input)
    if mask is not None and mask.any():
        known["points_at"] = float(points_at(values, mask))
        known["energy_inside"] = energy_inside(values, mask)
    return SaliencyMap(raw.source, raw.method, raw.input, values, known)


def _scores(subject: Subject, read: ReadCase, raw: _RawMap, index: int) -> dict[str, float]:
    position = subject.predictor.input_names.index(raw.input)

    def judge(image: Tensor) -> Tensor:
        changed = (*read.images[:position], image, *read.images[position + 1 :])
        return torch.as_tensor(_probabilities(subject, changed)[:, index])

    found = faithfulness(judge, read.images[position], raw.values.cpu().numpy())
    return {"deletion": found.deletion, "insertion": found.insertion}


@torch.no_grad()
def _probabilities(subject: Subject, images: Sequence[Tensor]) -> NDArray[np.float64]:
    logits = subject.network(*images).double()
    link = logits.softmax(1) if subject.predictor.exclusive else logits.sigmoid()
    values: NDArray[np.float64] = link.cpu().numpy()
    return values


def _masks(asked: AskedCase, places: Mapping[str, Placement]) -> dict[str, NDArray[np.bool_]]:
    """Return the mask of the first image that the case has."""
    if asked.mask is None or not places:
        return {}
    name, place = next(iter(places.items()))
    try:
        if len(place.canonical) == 3:
            values = read_volume(str(asked.mask)).pixels
        else:
            values = read_pixels(str(asked.mask))[0]
    except ImageFileError as error:
        raise CohortError(f"mask {error}") from error
    flat = values.max(-1) if values.ndim > len(place.canonical) else values
    if flat.shape != place.shape:
        raise CohortError(
            f"mask {asked.mask}: {_sides(flat.shape)}, but its image is {_sides(place.shape)}. "
            "Draw it on the image itself."
        )
    return {name: np.asarray(flat > 0)}


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
