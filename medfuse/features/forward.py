"""One forward pass of a frozen network, by torch or by a library that has translated it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from threading import Lock
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from medfuse.features.choice import EngineName
from medfuse.features.copies import Copies

LEAST_SIMILARITY = 0.9999

Network: TypeAlias = Callable[[Tensor], Tensor]

# Tracing and exporting set switches of the whole process.
_TRANSLATION = Lock()

# In inference mode a call comes as it was made, not as what it is made of.
_READING = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.item.default,
    torch.ops.aten.is_nonzero.default,
)

_TRANSLATORS = {
    "openvino": "medfuse.features.openvino_network",
    "onnxruntime": "medfuse.features.onnx_network",
}


class EngineRefusedError(Exception):
    """A library cannot compute a network, or computes something else; torch has to do it.

    Args:
        label: of the source.
        reason: for the log.
    """

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"{label}: {reason}")
        self.label = label
        self.reason = reason


class Translate(Protocol):
    """What a module for a library gives as ``translate``."""

    def __call__(self, module: nn.Module, example: Tensor, lanes: int) -> Network:
        """Return a network of ``module`` for batches like ``example``.

        Args:
            module: in eval mode, on the processor.
            example: a batch ``(B, C, *spatial)``; all others have its shape.
            lanes: how many threads call the network at once; they share the threads of torch.
        """
        ...


class TorchForward:
    """The module itself.

    Args:
        module: in eval mode on ``device``.
        device: where its parameters are.
        copies: how many threads may call at once.
    """

    def __init__(self, module: nn.Module, device: torch.device, copies: int = 1) -> None:
        self._device = device
        self._copies = Copies(module, copies)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the features of a batch ``(B, C, *spatial)``."""
        with torch.inference_mode(), self._copies.one() as module:
            features: Tensor = module(laid_out(batch.to(self._device)))
            return features


class TranslatedForward:
    """A module translated for another library with the first batch, which torch computes too.

    Args:
        engine: ``openvino`` or ``onnxruntime``.
        label: of the source, for the error text.
        module: in eval mode, on the processor.
        lanes: how many threads may call at once.
    """

    def __init__(self, engine: EngineName, label: str, module: nn.Module, lanes: int) -> None:
        self._engine = engine
        self._label = label
        self._module = module
        self._lanes = lanes
        self._network: Network | None = None
        self._lock = Lock()

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the features of a batch ``(B, C, *spatial)``.

        Raises:
            EngineRefusedError: of the first batch: the module cannot be translated, what it
                computes depends on values, or the lowest `similarity` between the features of an
                image by torch and by the library is below 0.9999.
        """
        with self._lock:
            if self._network is None:
                self._network, found = self._translated(batch)
                return found
        return self._network(batch)

    def _translated(self, batch: Tensor) -> tuple[Network, Tensor]:
        translate = self._library()
        try:
            with _TRANSLATION:
                network = translate(self._module, batch, self._lanes)
            found = network(batch)
        except Exception as error:
            raise EngineRefusedError(
                self._label, f"cannot be translated ({_one_line(error)})"
            ) from error
        with torch.inference_mode(), _Reads() as reads:
            expected = self._module(laid_out(batch))
        if reads.count:
            # A trace keeps the way that the first batch took, whatever the next ones hold.
            reason = "what it computes depends on values (a tensor is read as a number)"
            raise EngineRefusedError(self._label, reason)
        lowest = similarity(expected, found)
        if not lowest >= LEAST_SIMILARITY:
            reason = (
                f"other features than by torch (similarity {lowest:.6f}, expected "
                f"{LEAST_SIMILARITY})"
            )
            raise EngineRefusedError(self._label, reason)
        return network, found

    def _library(self) -> Translate:
        try:
            translate: Translate = import_module(_TRANSLATORS[self._engine]).translate
        except Exception as error:  # a broken installation may raise anything
            reason = f"its library cannot be imported ({_one_line(error)})"
            raise EngineRefusedError(self._label, reason) from error
        return translate


class Translations:
    """Networks that were translated, and sources that a library refused, over several requests.

    Translating takes seconds, and what was refused once is refused again.
    """

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self._networks: dict[tuple[EngineName, int, int], TranslatedForward] = {}

    def of(
        self, engine: EngineName, label: str, module: nn.Module, lanes: int
    ) -> TranslatedForward:
        """Return a network, which is translated when it is first asked for; see its class."""
        # It holds on to the module, whose id therefore stays its own.
        key = engine, id(module), lanes
        if key not in self._networks:
            self._networks[key] = TranslatedForward(engine, label, module, lanes)
        return self._networks[key]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often a tensor is read as a number, as ``if``, ``float()`` and ``item()`` do."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self.count += func in _READING
        return func(*args, **(kwargs or {}))


def similarity(expected: Tensor, found: Tensor) -> float:
    """Return the lowest cosine between the features of an image, ``(N, ...)`` each.

    It is multiplied by the ratio of the shorter to the longer one, so that only the same is 1.
    Features that are all 0 equal each other alone. Of other shapes or with NaN it is -1.
    """
    if expected.shape != found.shape:
        return -1.0
    a, b = expected.flatten(1).double(), found.flatten(1).double()
    norms = a.norm(dim=1), b.norm(dim=1)
    cosine = (a * b).sum(1) / torch.maximum(*norms) ** 2
    cosine = torch.where((norms[0] == 0) & (norms[1] == 0), 1.0, cosine)
    return float(cosine.nan_to_num(nan=-1.0).min())


def laid_out(batch: Tensor) -> Tensor:
    """Return a batch of images on a processor channels last; any other as it is."""
    if batch.dim() == 4 and batch.device.type == "cpu":
        return batch.contiguous(memory_format=torch.channels_last)
    return batch
