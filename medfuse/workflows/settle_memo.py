"""Resolve an input, or remember how it was resolved from the very same files before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from medfuse.config import InputConfig
from medfuse.data.plugin_reader import PluginReader
from medfuse.features.bank import FeatureBank
from medfuse.features.decoders import with_decoders
from medfuse.features.digests import MemoKey
from medfuse.features.fingerprints import fingerprints
from medfuse.preprocessing import RESOLVE_VERSION, looked_at, resolve_input, tell
from medfuse.storage import digest_of

Resolved = tuple[InputConfig, Mapping[str, Any]]


def resolve_known(
    config: InputConfig,
    references: Sequence[str],
    bank: FeatureBank | None,
    readers: Sequence[PluginReader] = (),
) -> Resolved:
    """Return what `resolve_input` gives; a second run on the same files decodes none of them.

    Args:
        config: of the input.
        references: of its files.
        bank: remembers what was resolved; nothing is remembered if ``None``.
        readers: of plugins, for files whose ending is theirs.

    Raises:
        ImageError: as `resolve_input`.
        BankError: the memo cannot be used.
    """
    key = None if bank is None else _key(config, references)
    if bank is None or key is None:
        return resolve_input(config, references, readers)
    with bank.memo() as memo:
        text = memo.text(key)
        if text is None:
            resolved, fingerprint = resolve_input(config, references, readers)
            memo.keep_text(key, json.dumps([resolved.model_dump(mode="json"), fingerprint]))
            return resolved, fingerprint
    settled, fingerprint = json.loads(text)
    resolved = InputConfig(**settled)
    tell(resolved, fingerprint)
    return resolved, fingerprint


def _key(config: InputConfig, references: Sequence[str]) -> MemoKey | None:
    """Return the memo's key; ``None`` where a file cannot be read: its error is not kept."""
    sample = looked_at(references)
    files = fingerprints(sample)
    if len(files) < len(sample):
        return None
    settings = {
        "resolve": RESOLVE_VERSION,
        "input": config.model_dump(mode="json"),
        "given": sorted(config.model_fields_set),
        "references": len(references),
    }
    content = digest_of([files[item] for item in sample])
    return MemoKey(content, with_decoders(digest_of(settings)))
