"""How the keys of CLIP's own image towers are called in timm: transformers and residual networks.

They are those of OpenAI (Radford et al. 2021, arXiv:2103.00020) and of OpenCLIP (Ilharco et al.
2021, doi:10.5281/zenodo.5143773). timm converts them too, by code; here the same is a table of
prefixes, which can be tried against a network and kept in a model card.
"""

from __future__ import annotations

from collections.abc import Container
from itertools import count, takewhile

from medfuse.backbones.weights import LEAVE_OUT

_BLOCKS = "transformer.resblocks."
_TRANSFORMER = {
    "class_embedding": "cls_token",
    "positional_embedding": "pos_embed",
    "conv1.": "patch_embed.proj.",
    "ln_pre.": "norm_pre.",
    "ln_post.": "norm.",
    "proj": LEAVE_OUT,
}
_TRANSFORMER_BLOCK = {
    "ln_1.": "norm1.",
    "ln_2.": "norm2.",
    "attn.in_proj_": "attn.qkv.",
    "attn.out_proj.": "attn.proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_ATTENTION_POOL = {
    "attnpool.positional_embedding": "head.pos_embed",
    "attnpool.q_proj.": "head.q.",
    "attnpool.k_proj.": "head.k.",
    "attnpool.v_proj.": "head.v.",
    "attnpool.c_proj.": LEAVE_OUT,
}
_BOTTLENECK = {
    "downsample.0.": "shortcut.conv.conv.",
    "downsample.1.": "shortcut.conv.bn.",
    "conv1.": "conv1_1x1.conv.",
    "bn1.": "conv1_1x1.bn.",
    "conv2.": "conv2_kxk.conv.",
    "bn2.": "conv2_kxk.bn.",
    "conv3.": "conv3_1x1.conv.",
    "bn3.": "conv3_1x1.bn.",
}
_STEM = (1, 2, 3)
_LAYERS = (1, 2, 3, 4)


def clip_table(prefix: str, known: Container[str]) -> dict[str, str] | None:
    """Return how the keys behind a prefix are called in timm; ``None`` if they are no such tower.

    Args:
        prefix: in front of the tower, such as ``visual.``.
        known: every beginning of a key that ends with a dot.
    """
    if f"{prefix}{_BLOCKS}0." in known:
        return {**_TRANSFORMER, **_numbered(prefix, _BLOCKS, "blocks.", _TRANSFORMER_BLOCK, known)}
    if f"{prefix}attnpool." in known:
        return _residual(prefix, known)
    return None


def _residual(prefix: str, known: Container[str]) -> dict[str, str]:
    stem = {f"{kind}{n}.": f"stem.conv{n}.{kind}." for n in _STEM for kind in ("conv", "bn")}
    table = {**stem, **_ATTENTION_POOL}
    for layer in _LAYERS:
        place, stage = f"layer{layer}.", f"stages.{layer - 1}."
        table |= _numbered(prefix, place, stage, _BOTTLENECK, known)
    return table


def _numbered(
    prefix: str, place: str, ours: str, block: dict[str, str], known: Container[str]
) -> dict[str, str]:
    """Return the table of one block for all blocks that are numbered from 0."""
    numbers = takewhile(lambda n: f"{prefix}{place}{n}." in known, count())
    return {
        f"{place}{n}.{theirs}": f"{ours}{n}.{name}"
        for n in numbers
        for theirs, name in block.items()
    }
