"""Promises of every network: finite, deterministic, row by row, trainable, restorable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medfuse.contract import BackboneSpec
from medfuse.errors import PluginError
from medfuse.testing.findings import NotApplicable
from medfuse.testing.isolated import invoke
from medfuse.testing.probes import ROWS, Probe

TOLERANCE = 1e-5


def outputs_are_finite(probe: Probe) -> None:
    """Pass if no output holds NaN or infinity."""
    if not all(bool(torch.isfinite(output).all()) for output in probe.outputs):
        raise PluginError("outputs hold NaN or infinity for ordinary inputs.")


def eval_is_deterministic(probe: Probe) -> None:
    """Pass if the same input gives the same output twice in eval mode, bit for bit."""
    again = probe.call(probe.module)
    if not all(torch.equal(a, b) for a, b in zip(probe.outputs, again, strict=True)):
        raise PluginError("two calls in eval mode differ. Draw no random numbers outside training.")


def rows_are_independent(probe: Probe) -> None:
    """Pass if a batch of three gives what its rows give one by one, to 1e-5."""
    for row in range(ROWS):
        alone = probe.call(probe.module, [x[row : row + 1] for x in probe.inputs])
        together = [output[row : row + 1] for output in probe.outputs]
        check_close(together, alone, "a row's output depends on the other rows of its batch")


def gradients_reach_the_start(probe: Probe) -> None:
    """Pass if a training step gives the first parameters (a backbone's stem) a gradient."""
    module = _perturbed(probe.build(seed=1)).train()
    owner, parameters = _first_parameters(module, probe)
    if not parameters:
        raise NotApplicable("no parameters to train")
    if not all(parameter.requires_grad for parameter in parameters):
        raise PluginError(f"{owner} is frozen by the factory. Freezing is the configuration's.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outputs = invoke(module, probe.inputs, probe.listed)
        score = sum(
            ((output * torch.randn_like(output)).sum() for output in outputs), torch.zeros(())
        )
    if not score.requires_grad:
        raise PluginError("outputs carry no gradient. Remove no_grad() or detach().")
    score.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not any(bool(gradient.abs().sum() > 0) for gradient in gradients):
        raise PluginError(f"no gradient reaches {owner}, so it cannot be fine-tuned.")
    if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
        raise PluginError(f"the gradient of {owner} holds NaN or infinity.")


def state_restores_the_outputs(probe: Probe) -> None:
    """Pass if the state dict, loaded strictly into a second product, gives the same outputs."""
    other = probe.build(seed=2)
    try:
        other.load_state_dict(probe.module.state_dict(), strict=True)
    except RuntimeError as error:
        raise PluginError(f"strict loading fails: {' '.join(str(error).split())}") from error
    check_close(
        probe.outputs,
        probe.call(other),
        "a product with the same state dict answers differently: some state is not in it",
    )


def check_close(expected: list[Tensor], found: list[Tensor], otherwise: str) -> None:
    """Pass if tensors agree to 1e-5 (relative to their largest value, where above 1).

    Raises:
        PluginError: saying ``otherwise``, with the difference.
    """
    shapes = [[tuple(x.shape) for x in tensors] for tensors in (expected, found)]
    if shapes[0] != shapes[1]:
        raise PluginError(f"{otherwise} (shapes {shapes[1]}, expected {shapes[0]}).")
    for a, b in zip(expected, found, strict=True):
        difference = float((a - b).abs().max()) if a.numel() else 0.0
        scale = max(1.0, float(a.abs().max())) if a.numel() else 1.0
        if not difference <= TOLERANCE * scale:
            raise PluginError(
                f"{otherwise} (by {difference:.2g}, tolerated {TOLERANCE * scale:.0e})."
            )


def _perturbed(module: nn.Module) -> nn.Module:
    """Move parameters a little, so that a layer that starts at zero does not hide the others."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for parameter in module.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return module


def _first_parameters(module: nn.Module, probe: Probe) -> tuple[str, list[nn.Parameter]]:
    stem = probe.spec.stem if isinstance(probe.spec, BackboneSpec) else ""
    if stem:
        return f"the stem {stem!r}", list(module.get_submodule(stem).parameters())
    name, parameter = next(iter(module.named_parameters()), ("", None))
    return f"the first parameter {name!r}", [] if parameter is None else [parameter]
