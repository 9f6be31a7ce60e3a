"""Load a source's weights: located, checked, renamed as said, and copied into the network."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from medfuse.backbones.draft import Draft, Loaded
from medfuse.backbones.key_formats import Wanted, find_fits, named_fit, suggestions, wanted_by
from medfuse.backbones.locate import locate_weights
from medfuse.backbones.pins import check_pin
from medfuse.backbones.weights import load_strictly, remap_keys, state_digest, with_leading_axes
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
    wanted = wanted_by(backbone, module, renames)
    remap = _chosen(given, content.tensors, wanted, where)
    state, left_out = _renamed(content.tensors, remap, renames)
    own = module.state_dict().keys()
    behind = tuple(key for key in state if key in wanted.allowed and key not in own)
    kept = {key: tensor for key, tensor in state.items() if key not in behind}
    kept = with_leading_axes(kept, wanted.shapes)
    load_strictly(module, kept, where, lambda: suggestions(find_fits(content.tensors, wanted)))
    return Loaded(
        digest=state_digest(kept),
        file=file,
        sha256=sha256,
        left_out=left_out + behind,
        container=content.container,
        remap=remap,
        key_format=given if isinstance(given, str) else "",
        checked=checked,
    )


def _expected_digest(draft: Draft) -> tuple[str | None, str]:
    """Return the digest that the file must have and who says so.

    Published weights have one where their description names it; a file of one's own has none.
    """
    if draft.config.sha256:
        return draft.config.sha256, "configuration"
    own = draft.reference.file and not draft.reference.weights
    if draft.weights and draft.weights.sha256 and not own:
        return draft.weights.sha256, "publisher"
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
