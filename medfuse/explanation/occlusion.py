"""Occlusion: how the log-odds fall as a patch is hidden, by MONAI."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from monai.visualize.occlusion_sensitivity import OcclusionSensitivity
from torch import Tensor, nn

from medfuse.explanation.scores import blurred
from medfuse.explanation.view import Images, SourceView, as_inputs, log_odds, seeing, source_names

WHOLE = "network"
_AT_ONCE = 16
_MODES = {
    "blur": "gaussian",
    "blur_to_black": "gaussian",
    "mean_patch": "mean_patch",
    "mean_image": "mean_img",
}


class OcclusionExplainer:
    """Fall of the log-odds of a class as a patch of the image of one source is hidden.

    Zeiler and Fergus 2014, doi 10.1007/978-3-319-10590-1_53. The other sources see the whole
    image. It needs no gradient; a network that exists only as a traced graph is explained as a
    whole, under the name ``network``.

    Args:
        network: a `medfuse.model.FusedNetwork`, or a traced one.
        patch: side of the patch, as a fraction of the image's along each axis.
        overlap: of neighboring patches, as a fraction of the side; more is finer and slower.
        fill: what a patch becomes: ``blur`` fades into the strongly blurred image, without an edge;
            ``blur_to_black`` fades to black, ``mean_patch`` and ``mean_image`` are flat squares.
    """

    additive = True

    def __init__(
        self,
        network: nn.Module,
        patch: float = 0.125,
        overlap: float = 0.5,
        fill: str = "blur",
    ) -> None:
        self.network: Any = network
        self.patch = patch
        self.overlap = overlap
        self.mode = _MODES[fill]
        self.blurred = fill == "blur"

    def __call__(self, image: Images, class_index: int) -> dict[str, Tensor]:
        """Return ``{source: saliency (*spatial)}``."""
        images = as_inputs(image)
        if is_graph(self.network):
            view = _GraphView(self.network)
            return {WHOLE: self._of(view, images[0], class_index)} if len(images) == 1 else {}
        names = source_names(self.network)
        return {
            names[position]: self._of(
                SourceView(self.network, position, images),
                images[self.network.inputs[position]],
                class_index,
            )
            for position in seeing(self.network, images)
        }

    def _of(self, view: nn.Module, image: Tensor, class_index: int) -> Tensor:
        spatial = image.shape[2:]
        if self.blurred:
            # What fades to 0 in the difference from the blurred image fades to the blurred image.
            behind = blurred(image)
            view, image = _Before(view, behind), image - behind
        find = OcclusionSensitivity(
            nn_module=view,
            mask_size=[max(2, round(self.patch * side)) if side > 2 else 1 for side in spatial],
            n_batch=_AT_ONCE if len(spatial) == 2 else 2,
            mode=self.mode,
            overlap=self.overlap,
            activate=False,
            verbose=False,
        )
        with torch.no_grad(), warnings.catch_warnings():
            # MONAI 1.6 indexes with lists of slices, which torch takes, but announces to stop.
            warnings.filterwarnings("ignore", "Using a non-tuple sequence", UserWarning)
            hidden, _ = find(image)
            seen = view(image)[0, class_index]
        fall: Tensor = (seen - torch.as_tensor(hidden)[0, class_index]).clamp(min=0)
        return fall.as_subclass(Tensor)


class _Before(nn.Module):
    """What a view says of differences from an image."""

    def __init__(self, view: nn.Module, behind: Tensor) -> None:
        super().__init__()
        self.view = view
        self.behind = behind
        self.eval()

    def forward(self, difference: Tensor) -> Tensor:
        """Return ``(N, K)``."""
        found: Tensor = self.view(self.behind + difference)
        return found


class _GraphView(nn.Module):
    """Log-odds of a traced network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.exclusive = getattr(network, "exclusive", True)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(N, K)``."""
        return log_odds(self.network(image), self.exclusive)


def is_graph(network: nn.Module) -> bool:
    """Tell whether a network exists only as a traced graph, through which no gradient is read."""
    return isinstance(network, torch.jit.ScriptModule)


def occlusion(
    network: nn.Module,
    patch: float = 0.125,
    overlap: float = 0.5,
    fill: str = "blur",
) -> OcclusionExplainer:
    """Return the explainer ``occlusion``."""
    return OcclusionExplainer(network, patch, overlap, fill)
