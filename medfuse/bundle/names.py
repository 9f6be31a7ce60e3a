"""The names that MONAI Label and MONAI Deploy depend on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from medfuse.bundle.license_gate import require_accepted
from medfuse.bundle.licenses import rank, strictest
from medfuse.bundle.request import BundleRequest
from medfuse.errors import BundleError
from medfuse.monai_text import means_itself

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_INPUT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_ENDING = "_classification"
_RESERVED = {"case_id", "inputs", "label", "pred"}
_AXES = {"image": (2,), "volume": (3,), "tabular": (0,)}
_SIZES = {"image": "a size (H, W)", "volume": "a size (H, W, D)", "tabular": "no size"}


def bundle_folder_name(name: str) -> str:
    """Return ``<name>_classification``: MONAI Label infers the task from the folder's name.

    Raises:
        BundleError: the name has characters that not every file system and tool accepts.
    """
    if not _NAME.fullmatch(name):
        raise BundleError(
            f"bundle name {name!r}: expected 1 to 64 letters, digits, _ and -, "
            "a letter or digit first. Set name: in the configuration."
        )
    return name if name.endswith(_ENDING) else name + _ENDING


def check_request(request: BundleRequest) -> None:
    """Pass if the request can become a bundle that every reader takes.

    Raises:
        BundleError: a name, a size or a part is missing or not usable.
    """
    bundle_folder_name(request.name)
    check_classes(request.classes)
    _check_inputs(request)
    if (request.network_node is None) != bool(request.graph_only):
        raise BundleError(
            f"bundle {request.name}: found {len(request.graph_only)} graph-only reasons and "
            f"{'no ' if request.network_node is None else 'a '}network node. "
            "Give a node, or say for each part why it exists only as a graph."
        )
    if request.network_node is None and not request.graphs:
        raise BundleError(
            f"bundle {request.name}: bundle.graphs is false, but {request.graph_only[0]}, so that "
            "the graph is all there is. Leave graphs out."
        )
    _check_license(request)


def _check_inputs(request: BundleRequest) -> None:
    check_input_names([spec.name for spec in request.inputs], request.name)
    for spec in request.inputs:
        if spec.channels < 1 or len(spec.size) not in _AXES[spec.kind]:
            raise BundleError(
                f"bundle {request.name}: input {spec.name} is {spec.channels} x {spec.size}, "
                f"expected at least one channel and {_SIZES[spec.kind]}."
            )
        if not request.preprocessing_nodes.get(spec.name):
            raise BundleError(
                f"bundle {request.name}: no preprocessing for input {spec.name}, expected at "
                "least a loader."
            )
        if spec.kind == "tabular" and not spec.columns:
            raise BundleError(f"bundle {request.name}: input {spec.name} names no columns.")


def _check_license(request: BundleRequest) -> None:
    require_accepted(request.part_licenses, request.accepted_licenses)
    needed = strictest(source.license for source in request.provenance.sources).expression
    if request.license and rank(request.license) < rank(needed):
        raise BundleError(
            f"bundle {request.name}: license {request.license} is freer than that of its sources, "
            f"{needed}. Leave license out, or give one that is at least as strict."
        )


def check_input_names(names: Sequence[str], bundle: str) -> None:
    """Pass if several inputs can be told apart in a bundle's configuration and table of cases.

    Raises:
        BundleError: naming the input to rename.
    """
    if not names or len(set(names)) != len(names) or not all(map(_INPUT.fullmatch, names)):
        raise BundleError(
            f"bundle {bundle}: inputs are {[*names]}, expected at least one, each with a name "
            "of its own (letters, digits and _). Rename them in the configuration."
        )
    reserved = sorted(_RESERVED & set(names))
    if reserved:
        raise BundleError(
            f"bundle {bundle}: input {reserved[0]} has a name that MONAI or the table of "
            "cases needs for something else. Rename it in the configuration."
        )


def check_classes(classes: Sequence[str]) -> None:
    """Pass if the class names survive MONAI Label, which lower-cases them and drops background.

    Raises:
        BundleError: naming the class to rename.
    """
    if len(classes) < 2:
        raise BundleError(f"classes: found {len(classes)}, expected at least 2.")
    for name in classes:
        if not name.strip() or name != name.strip() or not name.isprintable():
            raise BundleError(
                f"class {name!r}: expected printable text without blanks around it. Rename it."
            )
        if not means_itself(name):
            raise BundleError(
                f"class {name!r}: MONAI would run or replace it, expected a name that does not "
                "begin with $, @ or % and has no #. Rename it."
            )
        if name.lower() == "background":
            raise BundleError(
                f"class {name!r}: MONAI Label drops a class of this name. "
                'Rename it, for example to "negative".'
            )
    twice = [name for name, count in Counter(map(str.lower, classes)).items() if count > 1]
    if twice:
        same = " and ".join(repr(name) for name in classes if name.lower() == twice[0])
        raise BundleError(
            f"classes {same} are the same name in lower case, as MONAI Label writes them. "
            "Rename one."
        )
