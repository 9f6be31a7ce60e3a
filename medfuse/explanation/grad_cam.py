"""Grad-CAM and Grad-CAM++ of each source, by MONAI, on the maps that its vector is read from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.visualize.class_activation_maps import GradCAM, GradCAMpp
from torch import Tensor, nn

from medfuse.explanation.alignment import Alignment, measured, resample
from medfuse.explanation.margin import without_padding
from medfuse.explanation.reading import (
    Reading,
    backbone_of,
    find_reading,
    module_at,
    replaced,
)
from medfuse.explanation.view import Images, SourceView, as_inputs, seeing, source_names

_AT_ONCE = 16


class GradCamExplainer:
    """Grad-CAM (Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74) of every source.

    A source's vector often joins the means of maps of several stages. Grad-CAM on the last of them
    sees a part of the evidence only, and too coarsely for a small finding. Here the target layer
    is all of these maps side by side on the finest grid; where there is one map, it is that map.
    Maps are laid on the image where their cells were measured to look. What the padding of its
    convolutions adds to cells at the border is not shown: it is no part of the image. The weights
    of the maps are those of the network as it is.
    The score is the log-odds of the class. Slices of a volume are weighed by their attention,
    since the gradient passes through it.

    Args:
        network: a `medfuse.model.FusedNetwork`.
        layer: see `medfuse.explanation.reading.find_reading`.
        plus_plus: Grad-CAM++ (Chattopadhay et al. 2018, doi 10.1109/WACV.2018.00097).
    """

    additive = True

    def __init__(self, network: nn.Module, layer: str = "auto", plus_plus: bool = False) -> None:
        self.network: Any = network
        self.layer = layer
        self.method = GradCAMpp if plus_plus else GradCAM
        self.additive = not plus_plus
        self._readings: dict[int, _Placed | None] = {}

    def __call__(self, image: Images, class_index: int) -> dict[str, Tensor]:
        """Return ``{source: saliency (*spatial)}``; a source without maps is left out."""
        images = as_inputs(image)
        names = source_names(self.network)
        found: dict[str, Tensor] = {}
        for position in seeing(self.network, images):
            view = SourceView(self.network, position, images)
            saliency = self._of(view, images[self.network.inputs[position]], class_index)
            if saliency is not None:
                found[names[position]] = saliency
        return found

    def layers(self) -> dict[str, str]:
        """Return by source which layers were read, of the sources that were explained so far."""
        names = source_names(self.network)
        return {names[i]: p.reading.name for i, p in sorted(self._readings.items()) if p}

    def _of(self, view: SourceView, image: Tensor, class_index: int) -> Tensor | None:
        slices = getattr(view.source, "slices", 0)
        plain: Any = view.source.source if slices else view.source
        placed = self._placed(view.position, plain, image[..., 0] if slices else image)
        if placed is None:
            return None
        maps = [
            self._maps(_MapsView(view, plain, placed, part), part_image, class_index)
            for part, part_image in _parts(image, slices)
        ]
        stacked = torch.cat(maps)
        return stacked.movedim(0, -1) if slices else stacked[0]

    def _placed(self, position: int, source: nn.Module, image: Tensor) -> _Placed | None:
        if position not in self._readings:
            reading = find_reading(source, image, self.layer)
            places = [] if reading is None else reading.places
            found = None
            if reading is not None:
                found = _Placed(reading, tuple(measured(source, places, image)))
            self._readings[position] = found
        return self._readings[position]

    def _maps(self, view: _MapsView, image: Tensor, class_index: int) -> Tensor:
        """Return ``(N, *spatial)``: what each place adds to the log-odds, to the first order."""
        with torch.enable_grad():
            cam = self.method(
                view, target_layers="maps", upsampler=view.upsampler, postprocessing=_as_it_is
            )
            maps: Tensor = cam(image, class_idx=class_index)
        return maps.detach()[:, 0] * math.prod(view.grid)  # grids of any size agree in unit


@dataclass(frozen=True)
class _Placed:
    """The maps of a source, and where each lies on its image."""

    reading: Reading
    alignments: tuple[Alignment, ...]


class _MapsView(nn.Module):
    """Log-odds by way of one layer, ``maps``: all maps that the features are read from.

    The log-odds are the network's own; the layer holds the maps without the effect of padding.
    The gradient with respect to the layer's output is that of the means in the vector, and of the
    last map on its way through the rest of the network.
    """

    def __init__(self, view: SourceView, source: nn.Module, placed: _Placed, part: slice) -> None:
        super().__init__()
        self.view = view
        self.source = source
        self.reading = placed.reading
        self.alignments = placed.alignments
        self.part = part
        self.maps = nn.Identity()
        self.finest = max(placed.alignments, key=lambda found: math.prod(found.grid))
        self.grid = self.finest.grid
        self.eval()

    def upsampler(self, size: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
        """Return what lays maps of the finest grid on images of a size; MONAI asks for it."""
        pixels = [np.arange(side) for side in size]
        return lambda maps: resample(maps, self.finest, pixels)

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(N, K)``, or of slices ``(1, K)`` of their volume."""
        backbone = backbone_of(self.source)
        kept: dict[str, Tensor] = {}
        read: list[Tensor] = []
        shown = without_padding(self.source, self.reading.places, image)
        last = self._last(kept, shown, read)
        with replaced(module_at(backbone, self.reading.last.path), last) as hooks:
            for level in self.reading.levels:
                keep = _keeper(kept, level.place)
                module = module_at(backbone, level.place.path)
                hooks.callback(module.register_forward_hook(keep).remove)
            features: Tensor = self.source(image)
        for level, one in zip(self.reading.levels, read, strict=False):
            mean = one.flatten(2).mean(2)
            before, after = level.start, features.shape[1] - level.start - level.width
            features = features + F.pad(mean - mean.detach(), (before, after))
        if self.part != slice(None):
            whole = self.view.fixed[self.view.position].clone()
            whole[0, self.part] = features
            features = whole
        return self.view.judge(features)

    def _last(
        self, kept: dict[str, Tensor], shown: Mapping[str, Tensor], read: list[Tensor]
    ) -> Any:
        place = self.reading.last

        def replace(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if read:
                return output
            own = place.to_map(output).detach()
            whole = {**kept, place.path: own, **shown}
            parts = [whole[one.path] for one in self.reading.places]
            # What each place adds to the mean; a gradient of 1e-5 would drown in GradCAMpp's 1e-7.
            places = math.prod(self.grid)
            joined = torch.cat(self._on_finest(parts), 1) / places
            layer: Tensor = self.maps(joined.requires_grad_()) * places
            split = torch.split(layer, [p.shape[1] for p in parts], 1)
            read.extend(split)
            pool: Any = F.adaptive_avg_pool2d if own.ndim == 4 else F.adaptive_avg_pool3d
            coarse = pool(split[-1], own.shape[2:])
            return place.with_map(output, own + (coarse - coarse.detach()))

        return replace

    def _on_finest(self, maps: list[Tensor]) -> list[Tensor]:
        pixels = [self.finest.centers(axis) for axis in range(len(self.grid))]
        return [
            one if own is self.finest else resample(one, own, pixels)
            for one, own in zip(maps, self.alignments, strict=True)
        ]


def _keeper(kept: dict[str, Tensor], place: Any) -> Any:
    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        # A network may change the output in place later.
        kept.setdefault(place.path, place.to_map(output).detach().clone())

    return keep


def _parts(image: Tensor, slices: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield the image itself, or the slices of a volume as images, a few at a time."""
    if not slices:
        yield slice(None), image
        return
    each = image[0].movedim(-1, 0)
    for start in range(0, slices, _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, slices))
        yield part, each[part]


def _as_it_is(saliency: Tensor) -> Tensor:
    return saliency


def grad_cam(network: nn.Module, layer: str = "auto") -> GradCamExplainer:
    """Return the explainer ``gradcam``."""
    return GradCamExplainer(network, layer)


def grad_cam_plus_plus(network: nn.Module, layer: str = "auto") -> GradCamExplainer:
    """Return the explainer ``gradcam++``."""
    return GradCamExplainer(network, layer, plus_plus=True)
