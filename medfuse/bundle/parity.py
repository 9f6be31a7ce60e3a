"""Whether what lies in the folder is the network that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medfuse.bundle.request import IMAGE, BundleRequest, InputSpec
from medfuse.bundle.runtime import load_network, open_bundle
from medfuse.bundle.torchscript import with_missing
from medfuse.errors import BundleError

TOLERANCE = 1e-5


def fixed_input(inputs: Sequence[InputSpec], cases: int = 2) -> tuple[Tensor, ...]:
    """Return the same numbers in [0, 1] each time, one ``(cases, *shape)`` per input."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand((cases, *spec.shape), generator=generator) for spec in inputs)


def check_rebuilt(request: BundleRequest, network: nn.Module, root: Path) -> dict[str, Any]:
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
    fixed = fixed_input(request.inputs)
    cases = [tuple(image[None] for image in case) for case in zip(*fixed, strict=True)]
    cases += [*with_missing(cases[0]), *_canonical(preprocessing, request)]
    differences = [_difference(network, rebuilt, case, request.link) for case in cases]
    worst = float(torch.stack(differences).max())  # NaN if one is
    if not worst <= TOLERANCE:
        raise BundleError(
            f"bundle {request.name}: rebuilt network differs by {worst:.2g} in probability, "
            f"expected at most {TOLERANCE:g}. Its node leaves out something that was trained."
        )
    return {"cases": len(cases), "largest_difference": worst}


def probabilities(logits: Tensor, link: str) -> Tensor:
    """Return ``(N, K)`` probabilities of logits."""
    return logits.softmax(-1) if link == "softmax" else logits.sigmoid()


def _canonical(preprocessing: Any, request: BundleRequest) -> list[tuple[Tensor, ...]]:
    cases = []
    for number, example in enumerate(request.examples, start=1):
        items = preprocessing({IMAGE: example} if isinstance(example, str) else dict(example))
        images = tuple(torch.as_tensor(items[key]) for key in request.keyed)
        for image, spec in zip(images, request.inputs, strict=True):
            if tuple(image.shape) != spec.shape or image.dtype != torch.float32:
                raise BundleError(
                    f"bundle {request.name}: preprocessing gives {tuple(image.shape)} "
                    f"{image.dtype} for example {number}, expected {spec.shape} torch.float32."
                )
        cases.append(tuple(image[None] for image in images))
    return cases


def _difference(one: nn.Module, other: nn.Module, case: tuple[Tensor, ...], link: str) -> Tensor:
    with torch.inference_mode():
        a, b = (probabilities(network(*case), link) for network in (one, other))
    return (a - b).abs().max()


def _cause(error: BaseException) -> str:
    """The first cause: MONAI nests the real one below its own reports."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
