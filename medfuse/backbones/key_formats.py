"""Find how the keys of a file become those of a network: one prefix, or a known format of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medfuse.backbones.clip_towers import clip_table
from medfuse.backbones.stem import is_other_stem
from medfuse.backbones.weights import LEAVE_OUT, is_same_shape, needed_shapes, remap_keys
from medfuse.config import AUTO_REMAP
from medfuse.errors import WeightsError

_SHOWN = 3
_MOST_PREFIXES = 20
# Where each format keeps the network that is meant, the first that is there; what stands before,
# such as the ``module.`` of a network trained on several devices, is allowed.
_PLACES: dict[str, tuple[str, ...]] = {
    "lightning": ("model.", "net.", "network.", "backbone.", "encoder."),
    # He et al. (2020) arXiv:1911.05722, Chen et al. (2020, 2021) arXiv:2003.04297, 2104.02057
    "moco": ("encoder_q.", "base_encoder.", "backbone."),
    # Caron et al. (2021) arXiv:2104.14294, Oquab et al. (2023) arXiv:2304.07193
    "dino": ("teacher.backbone.", "teacher.module.backbone.", "teacher_backbone."),
    # He et al. (2022) arXiv:2111.06377
    "mae": ("", "encoder."),
    # Chen et al. (2020) arXiv:2002.05709, in the forms of its ports to torch
    "simclr": ("backbone.", "encoder.", "convnet.", "f."),
    # Ilharco et al. (2021) OpenCLIP, doi:10.5281/zenodo.5143773
    "clip": ("visual.trunk.", "visual."),
}


@dataclass(frozen=True)
class Wanted:
    """What a network needs of a file.

    Attributes:
        shapes: of all that it must be given, by key.
        stem: key of the first layer's weight, which may take another number of channels.
        allowed: further keys that it takes, or that lie behind its cut.
        renames: prefixes that the weights' description rewrites.
        children: names of the network's parts, in order.
    """

    shapes: Mapping[str, torch.Size]
    stem: str
    allowed: frozenset[str]
    renames: Mapping[str, str]
    children: tuple[str, ...]

    def takes(self, key: str, shape: Sequence[int]) -> bool:
        """Tell whether a tensor of a shape can be given for a key."""
        wanted = self.shapes[key]
        return is_same_shape(shape, wanted) or (key == self.stem and is_other_stem(shape, wanted))


@dataclass(frozen=True)
class Fit:
    """A remap under which the keys of a file fit.

    Attributes:
        prefix: in front of the keys that are used.
        remap: as in a configuration.
    """

    prefix: str
    remap: dict[str, str]

    def __str__(self) -> str:
        """Return the line of a configuration."""
        pairs = ", ".join(f'"{old}": "{new}"' for old, new in self.remap.items())
        return f"remap: {{{pairs}}}"


def wanted_by(
    backbone: nn.Module, module: nn.Module, renames: Mapping[str, str], stem: str = ""
) -> Wanted:
    """Return what a backbone needs.

    Args:
        backbone: the whole network.
        module: the network, or the part of it in front of a cut.
        renames: prefixes that the weights' description rewrites.
        stem: path of the first layer.
    """
    inner = renames.get("", "").rstrip(".")
    holder = dict(backbone.named_modules()).get(inner, backbone)
    allowed = frozenset(backbone.state_dict()) | frozenset(module.state_dict())
    children = tuple(name for name, _ in holder.named_children())
    return Wanted(needed_shapes(module), f"{stem}.weight", allowed, renames, children)


def find_fits(state: Mapping[str, Tensor], wanted: Wanted) -> list[Fit]:
    """Return every remap that makes the keys of a file fit, the shortest prefix first."""
    found = (_fit(state, wanted, prefix, table) for prefix, table in _candidates(state, wanted))
    return sorted((fit for fit in found if fit is not None), key=lambda fit: len(fit.prefix))


def named_fit(name: str, state: Mapping[str, Tensor], wanted: Wanted, where: str) -> Fit:
    """Return the remap that a format's name stands for, for this file.

    Args:
        name: a format, or ``auto`` for the only remap that fits.
        state: of the file.
        wanted: what the network needs.
        where: the source, for error texts.

    Raises:
        WeightsError: nothing fits, or ``auto`` and several do.
    """
    fits = find_fits(state, wanted)
    chosen = fits if name == AUTO_REMAP else _of_format(fits, _PLACES[name])
    if not chosen:
        raise WeightsError(
            f"{where}: remap {name} finds no part of the file that fits. Its keys begin with "
            f"{', '.join(_beginnings(state))}. {_instead(fits)}"
        )
    if name == AUTO_REMAP and len(chosen) > 1:
        raise WeightsError(f"{where}: remap {name} finds {len(chosen)} parts. {_instead(chosen)}")
    return chosen[0]


def suggestions(state: Mapping[str, Tensor], wanted: Wanted) -> list[str]:
    """Return the lines of a configuration that would make a file fit; few."""
    fits = find_fits(state, wanted)
    if not fits and _is_larger(state, wanted):
        return ["use to a larger network of the family, whose parts these are"]
    return _lines(fits) + ([f"remap: {AUTO_REMAP}"] if len(fits) == 1 else [])


def _instead(fits: list[Fit]) -> str:
    lines = _lines(fits)
    return f"Set {', or '.join(lines)}." if lines else "Another backbone may fit."


def _lines(fits: list[Fit]) -> list[str]:
    """Return a few lines; one of a hundred prefixes is left to the format's name."""
    return [str(fit) for fit in fits[:_SHOWN] if len(fit.remap) <= _MOST_PREFIXES]


def _of_format(fits: list[Fit], places: tuple[str, ...]) -> list[Fit]:
    at = [fit for place in places for fit in fits if _is_at(fit.prefix, place)]
    at = [fit for fit in at if "momentum" not in fit.prefix]
    return at[:1]


def _is_at(prefix: str, place: str) -> bool:
    return prefix == place or bool(place and prefix.endswith(f".{place}"))


def _candidates(
    state: Mapping[str, Tensor], wanted: Wanted
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield prefixes with enough keys behind them, and how each part behind them is called."""
    counts: dict[str, int] = {"": len(state)}
    for key in state:
        parts = key.split(".")
        for depth in range(1, len(parts)):
            prefix = ".".join(parts[:depth]) + "."
            counts[prefix] = counts.get(prefix, 0) + 1
    numbered = {f"{number}.": f"{name}." for number, name in enumerate(wanted.children)}
    for prefix, keys in counts.items():
        if keys >= len(wanted.shapes):
            yield prefix, {"": ""}
            if any(f"{prefix}{number}" in counts for number in numbered):
                yield prefix, {"": "", **numbered}
            if (table := clip_table(prefix, counts)) is not None:
                yield prefix, table


def _fit(
    state: Mapping[str, Tensor], wanted: Wanted, prefix: str, table: Mapping[str, str]
) -> Fit | None:
    """Return the remap for one prefix, if all that the network needs is there and fits."""
    behind = {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}
    try:
        inner, _ = remap_keys(behind, table)
        named, _ = remap_keys(inner, wanted.renames)
    except WeightsError:
        return None
    if any(k not in named or not wanted.takes(k, named[k].shape) for k in wanted.shapes):
        return None
    extra = _extra_parts(behind, table, wanted)
    if extra is None:
        return None
    outside = {"": LEAVE_OUT} if len(behind) < len(state) else {}
    needed = [old for old in _used(behind, table) if not old.startswith(tuple(extra))]
    pairs = {f"{prefix}{old}": table[old] for old in needed if prefix or old}
    return Fit(prefix, {**outside, **pairs, **{f"{prefix}{part}": LEAVE_OUT for part in extra}})


def _is_larger(state: Mapping[str, Tensor], wanted: Wanted) -> bool:
    named, _ = remap_keys(state, wanted.renames)
    return _extra_parts(state, {}, wanted) is None and named.keys() >= wanted.shapes.keys()


def _extra_parts(
    behind: Mapping[str, Tensor], table: Mapping[str, str], wanted: Wanted
) -> list[str] | None:
    """Return the parts of a file that the network has not; ``None`` if one only goes deeper.

    A larger network of the same family has the keys of the smaller one, and more: it is another
    network, not one with parts to leave out.
    """
    used: set[str] = set()
    extra: dict[str, None] = {}
    for key, tensor in behind.items():
        part = key.partition(".")[0] + ("." if "." in key else "")
        inner, by_table = remap_keys({key: tensor}, table)
        named, by_weights = remap_keys(inner, wanted.renames)
        if by_table or by_weights:
            continue
        if set(named) <= wanted.allowed:
            used.add(part)
        else:
            extra[part] = None
    return None if used & set(extra) else list(extra)


def _used(behind: Mapping[str, Tensor], table: Mapping[str, str]) -> list[str]:
    """Return the prefixes of a table that are the longest one for some key, in its order."""
    fitting = ([old for old in table if key.startswith(old)] for key in behind)
    longest = {max(olds, key=len) for olds in fitting if olds}
    return [old for old in table if old in longest]


def _beginnings(state: Mapping[str, Tensor]) -> list[str]:
    names = list(dict.fromkeys(key.partition(".")[0] for key in state))
    return names[:_SHOWN] + (["..."] if len(names) > _SHOWN else [])
