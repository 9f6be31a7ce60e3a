"""Load a source's weights: located, checked, renamed as said, and copied into the network."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from medfuse.backbones.draft import Draft, Loaded
from medfuse.backbones.key_formats import Wanted, named_fit, suggestions, wanted_by
from medfuse.backbones.locate import locate_weights
from medfuse.backbones.pins import check_pin
from medfuse.backbones.stem import is_other_stem, with_channels
from medfuse.backbones.weights import (
    load_strictly,
    remap_keys,
    require_dense,
    weights_digest,
    with_leading_axes,
)
from medfuse.backbones.weights_file import load_weights, require_file
from medfuse.storage import sha256_file

_LOG = logging.getLogger("medfuse.backbones")


def load_into(module: nn.Module, backbone: nn.Module, draft: Draft) -> Loaded:
    """Copy a source's weights into its network and return what was loaded.

    Args:
        module: the network, or the part of it in front of a cut.
        backbone: the whole network.
        draft: what is known of the source.

    Raises:
        WeightsError: the weights are absent, unsafe, have another digest or do not fit.
    """
    where = f"source {draft.reference}"
    given = draft.config.remap
    renames = draft.weights.remap if draft.weights else {}
    file = require_file(locate_weights(draft.reference, draft.weights, draft.target.download))
    sha256 = sha256_file(file)
    expected, checked = _expected_digest(draft)
    content = load_weights(file, expected, () if isinstance(given, str) else given)
    if _is_fetched(draft) and draft.weights and not expected:
        check_pin(draft.weights, sha256, where)
        checked = "first use"
    wanted = wanted_by(backbone, module, renames, draft.spec.stem)
    remap = _chosen(given, content.tensors, wanted, where)
    state, left_out = _renamed(content.tensors, remap, renames)
    own = module.state_dict().keys()
    behind = tuple(key for key in state if key in wanted.allowed and key not in own)
    kept = {key: tensor for key, tensor in state.items() if key not in behind}
    require_dense(kept, where)
    kept, stem = _with_stem(with_leading_axes(kept, wanted.shapes), wanted, where)
    load_strictly(
        module, kept, where, lambda: suggestions(content.tensors, wanted), renames.get("", "")
    )
    return Loaded(
        digest=weights_digest(module),
        file=file,
        sha256=sha256,
        left_out=left_out + behind,
        container=content.container,
        remap=remap,
        key_format=given if isinstance(given, str) else "",
        checked=checked,
        stem=stem,
    )


def _with_stem(
    state: dict[str, Tensor], wanted: Wanted, where: str
) -> tuple[dict[str, Tensor], str]:
    """Return the state with a first layer for the network's channels, and what was done."""
    weight, shape = state.get(wanted.stem), wanted.shapes.get(wanted.stem)
    if weight is None or shape is None or not is_other_stem(weight.shape, shape):
        return state, ""
    _LOG.info(
        "%s: the file's first layer takes %s, the network %d: its weights are %s, which gives the "
        "same for a gray image that all channels normalize alike",
        where,
        _channels(weight.shape[1]),
        shape[1],
        "summed" if shape[1] == 1 else "divided among them",
    )
    adapted = {**state, wanted.stem: with_channels(weight, shape)}
    return adapted, f"{_channels(weight.shape[1])} as {shape[1]}"


def _channels(number: int) -> str:
    return f"{number} {'channel' if number == 1 else 'channels'}"


def _expected_digest(draft: Draft) -> tuple[str | None, str]:
    """Return the digest that the file must have and who says so.

    Published weights have one where their description names it, and a file of one's own where a
    description lies beside it.
    """
    if draft.config.sha256:
        return draft.config.sha256, "configuration"
    reference = draft.reference
    own = reference.file is not None and reference.weights is None
    described = reference.described is not None
    if draft.weights and draft.weights.sha256 and (described or not own):
        return draft.weights.sha256, "description" if described and own else "publisher"
    return None, ""


def _is_fetched(draft: Draft) -> bool:
    weights = draft.weights
    return bool(not draft.reference.file and weights and (weights.hub_id or weights.url))


def _chosen(
    given: str | Mapping[str, str], state: Mapping[str, Tensor], wanted: Wanted, where: str
) -> dict[str, str]:
    """Return the prefixes to rewrite; those that a format's name stands for are told."""
    if not isinstance(given, str):
        return dict(given)
    fit = named_fit(given, state, wanted, where)
    _LOG.info("%s: remap %s stands for %s", where, given, fit)
    return fit.remap


def _renamed(
    state: Mapping[str, Tensor], *remaps: Mapping[str, str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    renamed, left_out = dict(state), tuple[str, ...]()
    for remap in remaps:
        renamed, more = remap_keys(renamed, remap)
        left_out += more
    return renamed, left_out
