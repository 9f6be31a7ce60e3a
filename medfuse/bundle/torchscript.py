"""``model.ts``: the traced network, without the code: ``forward``, ``features``, or both."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medfuse.errors import BundleError
from medfuse.exporters.quiet import quiet_torchscript

if TYPE_CHECKING:
    from medfuse.model import FusedNetwork

Batch = tuple[torch.Tensor, ...]

TOLERANCE = 1e-4


def write_torchscript(
    network: FusedNetwork, example: Batch, path: Path, extra: Mapping[str, Any]
) -> float:
    """Write the traced network; return its largest difference from ``network``.

    Args:
        network: in eval mode, on the CPU.
        example: one ``(2, *shape)`` per input; checked on other batch sizes too.
        path: the ``.ts`` file.
        extra: JSON files stored inside, by name; MONAI Deploy reads them.

    Raises:
        BundleError: the network cannot be traced, or the trace gives other results.
    """
    files = {name: json.dumps(value).encode() for name, value in extra.items()}
    with quiet_torchscript():
        try:
            traced = _traced(network, example)
        except (RuntimeError, TypeError, ValueError) as error:
            raise BundleError(
                f"{path.name}: the network cannot be traced ({_first_line(error)}). "
                "Its sources, fusion and head must map tensors to tensors."
            ) from error
        # Through memory: on a full disk torch raises RuntimeError, Python names the reason.
        archive = io.BytesIO()
        torch.jit.save(traced, archive, files)
        path.write_bytes(archive.getbuffer())
        _drop_debug_records(path)
        loaded = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return largest_difference(network, loaded, example, path.name)


def _traced(network: FusedNetwork, example: Batch) -> Any:
    """Return the trace of one pass for both outputs; ``forward`` and ``features`` give one each."""
    method = {"with_features": example}
    traced: Any = torch.jit.trace_module(network, method, check_trace=False)  # type: ignore[no-untyped-call]
    names = [given.name for given in traced.with_features.schema.arguments[1:]]
    if len(names) > 1:  # of ``*images`` all may have the same
        names = [f"image_{i}" for i in range(len(names))]
    images = ", ".join(names)
    for place, name in enumerate(("forward", "features")):
        body = f"return self.with_features({images})[{place}]"
        traced.define(f"def {name}(self, {images}):\n    {body}\n")
    return traced


def largest_difference(network: FusedNetwork, other: Any, example: Batch, name: str) -> float:
    """Return the largest difference of logits and features over batches of 2, 1 and 3.

    Of several inputs, batches with a case that lacks one are compared too. The
    difference is relative to the largest value of a batch where that is above 1.

    Args:
        network: the reference.
        other: called the same way.
        example: one ``(2, *shape)`` per input.
        name: of ``other``, for the error text.

    Raises:
        BundleError: the difference is above 1e-4.
    """
    first = tuple(image[:1] for image in example)
    three = tuple(torch.cat([image, image.flip(-1)[:1]]) for image in example)
    distances = []
    for batch in (example, first, three, *with_missing(three)):
        with torch.inference_mode():
            pairs = zip(network.with_features(*batch), other.with_features(*batch), strict=True)
            distances += [_distance(expected, found) for expected, found in pairs]
    worst = float(torch.stack(distances).max())  # NaN if one is
    if not worst <= TOLERANCE:
        raise BundleError(
            f"{name}: differs from the trained network by {worst:.2g}, expected at most "
            f"{TOLERANCE:g}. A part behaves differently for another batch."
        )
    return worst


def with_missing(batch: Batch) -> Iterator[Batch]:
    """Yield the batch with each input missing in its first case; nothing for a single input."""
    for missing in range(len(batch) if len(batch) > 1 else 0):
        images = [image.clone() for image in batch]
        images[missing][0] = torch.nan
        yield tuple(images)


def _distance(expected: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    return (expected - found).abs().max() / expected.abs().max().clamp(min=1.0)


def _drop_debug_records(path: Path) -> None:
    """Debug records name source files on this machine; traced inputs are of no use."""
    part = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as new:
        for record in old.infolist():
            if not record.filename.endswith(".debug_pkl"):
                new.writestr(record, old.read(record))
    part.replace(path)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
