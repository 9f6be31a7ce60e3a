"""Whether what lies in the folder is the network that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medfuse.bundle.request import BundleRequest, InputSpec
from medfuse.bundle.runtime import load_network, open_bundle
from medfuse.errors import BundleError

TOLERANCE = 1e-5


def fixed_input(spec: InputSpec, cases: int = 2) -> Tensor:
    """Return the same images in [0, 1] each time, ``(cases, C, *spatial)``."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand((cases, spec.channels, *spec.size), generator=generator)


def check_rebuilt(request: BundleRequest, network: torch.nn.Module, root: Path) -> dict[str, Any]:
    """Return how far the network rebuilt from the bundle's files is from the trained one.

    Probabilities are compared on a fixed input and on ``request.examples``, the latter through
    the bundle's own preprocessing.

    Args:
        request: what the bundle is made of.
        network: the trained network, in eval mode, on the CPU.
        root: the bundle's folder.

    Raises:
        BundleError: the bundle's code cannot be run, or probabilities differ by more than 1e-5.
    """
    try:
        with open_bundle(root) as parser:
            rebuilt = load_network(parser, root, torch.device("cpu"))
            preprocessing = parser.get_parsed_content("preprocessing")
    except BundleError:
        raise
    except Exception as error:  # the node may name anything, and MONAI wraps what it raises
        raise BundleError(
            f"bundle {request.name}: cannot be built from its own files ({_cause(error)}). "
            "Check network_node, preprocessing_nodes and vendored."
        ) from error
    images = [*fixed_input(request.input), *_canonical(preprocessing, request)]
    worst = max(_difference(network, rebuilt, image[None], request.link) for image in images)
    if not worst <= TOLERANCE:
        raise BundleError(
            f"bundle {request.name}: rebuilt network differs by {worst:.2g} in probability, "
            f"expected at most {TOLERANCE:g}. Its node leaves out something that was trained."
        )
    return {"cases": len(images), "largest_difference": worst}


def probabilities(logits: Tensor, link: str) -> Tensor:
    """Return ``(N, K)`` probabilities of logits."""
    return logits.softmax(-1) if link == "softmax" else logits.sigmoid()


def _canonical(preprocessing: Any, request: BundleRequest) -> Sequence[Tensor]:
    expected = (request.input.channels, *request.input.size)
    images = []
    for number, reference in enumerate(request.examples, start=1):
        image = torch.as_tensor(preprocessing({"image": reference})["image"])
        if tuple(image.shape) != expected or image.dtype != torch.float32:
            raise BundleError(
                f"bundle {request.name}: preprocessing gives {tuple(image.shape)} {image.dtype} "
                f"for example {number}, expected {expected} torch.float32."
            )
        images.append(image)
    return images


def _difference(one: torch.nn.Module, other: torch.nn.Module, image: Tensor, link: str) -> float:
    with torch.inference_mode():
        a, b = (probabilities(network(image), link) for network in (one, other))
    return float((a - b).abs().max())


def _cause(error: BaseException) -> str:
    """The first cause: MONAI nests the real one below its own reports."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
