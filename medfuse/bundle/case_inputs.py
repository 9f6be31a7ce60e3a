"""Cases of several inputs, some of them missing. Copied into bundles: torch and MONAI only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms.compose import Compose
from monai.transforms.transform import MapTransform, Transform
from torch import Tensor

from medfuse.bundle.case_table import CASE_ID, CaseError, require_input

PRESENT = "inputs"


class OneInputd(MapTransform):
    """The input ``keys`` of a case, made by transforms that know it as ``image``.

    Args:
        keys: name of the input; with ``allow_missing_keys`` a case may lack it.
        transforms: as in a bundle of that input alone.
        allow_missing_keys: see ``keys``.
    """

    def __init__(
        self,
        keys: str,
        transforms: Sequence[Callable[..., Any]],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transforms = Compose(list(transforms))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with that input made."""
        items = dict(data)
        for key in self.key_iterator(items):
            items[key] = self.transforms({"image": items[key]})["image"]
        return items


class CompleteCased(Transform):
    """Cases that all have the same items: every input, and ``inputs`` that says which are there.

    An input that a case lacks becomes NaN of its shape. NaN can mean nothing else, since an input
    that is there must be finite.

    Args:
        shapes: of each input, without the batch axis.
        all_needed: refuse a case that lacks an input, since the fusion cannot leave it out.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], all_needed: bool = False) -> None:
        self.all_needed = all_needed
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``case_id``, ``inputs`` (names joined by ``;``), and a tensor per input.

        Raises:
            CaseError: an input has another shape or values that are not finite, or none is there;
                code ``MISSING_INPUT`` where all are needed.
        """
        found = {name: data[name] for name in self.shapes if name in data}
        require_input(found, "the case")
        absent = [name for name in self.shapes if name not in found]
        if absent and self.all_needed:
            raise CaseError("MISSING_INPUT", f"input {absent[0]}: absent, but all are needed")
        tensors: dict[Hashable, Any] = {
            name: _checked(name, found[name], shape) if name in found else _missing(shape)
            for name, shape in self.shapes.items()
        }
        return {CASE_ID: data.get(CASE_ID, ""), PRESENT: ";".join(found), **tensors}


class PrepareInputs:
    """A ``prepare_batch`` that hands the network its inputs one after the other.

    Args:
        names: in the order in which the network takes them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: Any = None,
        non_blocking: bool = False,
        **to: Any,
    ) -> tuple[Tensor, None, tuple[Tensor, ...], dict[str, Any]]:
        """Return the first input, no label, the other inputs, and no named ones."""
        first, *others = (
            batchdata[name].to(device=device, non_blocking=non_blocking, **to)
            for name in self.names
        )
        return first, None, tuple(others), {}


def _checked(name: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    tensor = torch.as_tensor(value).as_subclass(Tensor)
    if tuple(tensor.shape) != shape:
        raise CaseError("WRONG_SHAPE", f"input {name}: found {tuple(tensor.shape)}, not {shape}")
    if not bool(torch.isfinite(tensor).all()):
        raise CaseError("NON_FINITE", f"input {name}: holds values that are not finite")
    return tensor.float()


def _missing(shape: tuple[int, ...]) -> Tensor:
    return torch.full(shape, torch.nan)
