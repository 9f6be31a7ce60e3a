"""Build: the source that a tabular input has, its values themselves."""

from __future__ import annotations

from medfuse.backbones.build import BuiltSource
from medfuse.backbones.description import IDENTITY_VERSION
from medfuse.backbones.table_row import TableRow
from medfuse.config import SourceConfig
from medfuse.errors import SourceError
from medfuse.registry.vendoring import vendored_target

TABULAR = "tabular"
_MODULE = "medfuse.backbones.table_row"


def build_table_source(config: SourceConfig, width: int) -> BuiltSource:
    """Return the source of a tabular input; the classifier standardizes and weighs its values.

    Args:
        config: ``use: tabular``, with nothing to load, cut or train.
        width: number of encoded values P.

    Raises:
        SourceError: the input has no image, so no network can read it.
    """
    if config.use != TABULAR:
        raise SourceError(
            f"source {config.use}: reads images, but its input {config.input!r} is tabular. "
            f"Bind it to an image input, or use {TABULAR} for this one."
        )
    if config.train != "frozen" or config.unfreeze or config.cut or config.options:
        raise SourceError(
            f"source {TABULAR} of input {config.input!r}: found train, unfreeze, cut or options, "
            "expected none: nothing in it learns. Remove them."
        )
    return BuiltSource(
        label=f"{TABULAR}:{config.input}",
        module=TableRow().eval(),
        feature_dim=width,
        tokens=0,
        slices=0,
        identity={"version": IDENTITY_VERSION, TABULAR: width},
        node={"_target_": vendored_target(f"{_MODULE}:TableRow")},
        vendored=(_MODULE,),
        requires=(),
        card=_card(config),
        spec=None,
    )


def _card(config: SourceConfig) -> dict[str, object]:
    return {
        "weights": "none",
        "domain": "tabular values",
        "training_data": [],
        "license": "Apache-2.0",
        "citation": "",
        "providers": {},
        "source": f"{TABULAR}:{config.input}",
        "file": None,
        "sha256": None,
        "state_digest": "",
        "digest": "",
        "left_out": [],
        "contract_assumed": False,
    }
