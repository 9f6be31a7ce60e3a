"""What can be said of a bundle's files without running it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .inert import require_inert
from .integrity import require_as_written
from .signature import read_signature, require_signed_by, trusted_keys
from .subject import Bundle, CheckFailedError, CheckSkippedError

FILES = (
    "LICENSE",
    "SHA256SUMS",
    "configs/metadata.json",
    "configs/inference.json",
    "docs/README.md",
    "scripts/__init__.py",
)
GRAPH = "models/model.ts"
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])(?:/(?:home|root|Users|tmp|mnt|work)/|[A-Za-z]:\\\\)[\w.-]+"
)
METADATA_TYPES: dict[str, Any] = {
    "schema": str,
    "version": str,
    "changelog": dict,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "intended_use": str,
    "supported_apps": dict,
    "eval_metrics": dict,
    "references": list,
    "network_data_format": dict,
}
TENSOR_TYPES: dict[str, Any] = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
    "channel_def": dict,
}


def check_files(bundle: Bundle) -> str:
    """All files that some reader expects are there."""
    wanted = list(FILES)
    if bundle.retrainable:
        wanted += ["models/model.pt"]
    if not (bundle.retrainable and GRAPH in bundle.left_out):
        wanted += [GRAPH]
        wanted += ["configs/inference_ts.json"] if bundle.retrainable else []
    missing = [name for name in wanted if not (bundle.root / name).is_file()]
    if missing:
        raise CheckFailedError(f"missing: {', '.join(missing)}", "MISSING_FILE")
    return f"{len(wanted)} required files"


def check_names(bundle: Bundle) -> str:
    """Folder and classes have names that MONAI Label keeps."""
    if "classification" not in bundle.root.name:
        raise CheckFailedError(
            f"folder {bundle.root.name!r} lacks 'classification' (MONAI Label needs it)"
        )
    names = bundle.class_names()
    lower = [name.lower() for name in names]
    if len(set(lower)) != len(names) or "background" in lower:
        raise CheckFailedError(f"classes {names}: not unique in lower case, or one is 'background'")
    if bundle.config("inference.json").get("class_names") != names:
        text = "class_names of inference.json are not those of channel_def"
        raise CheckFailedError(text, "CLASS_NAMES")
    return f"{len(names)} classes"


def check_digests(bundle: Bundle) -> str:
    """Every file is as it was written, and no code was added."""
    return f"{require_as_written(bundle.root)} files as written"


def check_signature(bundle: Bundle) -> str:
    """A trusted key signed the digests; without one it is said who did."""
    if bundle.trusted_key is None:
        found = read_signature(bundle.root)
        if found is None:
            raise CheckSkippedError("unsigned: who can edit the bundle can edit its digests")
        raise CheckSkippedError(f"signed by {found.fingerprint}, not checked (--trusted-key FILE)")
    keys = trusted_keys(bundle.trusted_key)
    try:
        return f"signed by {require_signed_by(bundle.root, keys)}, which is trusted"
    except ModuleNotFoundError as error:
        text = "a signature is checked by cryptography, which is not installed (medfuse[sign])"
        raise CheckFailedError(text, "NO_CRYPTOGRAPHY") from error


def check_contents(bundle: Bundle) -> str:
    """No file runs code when it is loaded, and none names a place on a machine."""
    for path in bundle.files():
        name = path.relative_to(bundle.root).as_posix()
        require_inert(path, name)
        if path.suffix in (".json", ".md", ".py", ".conf", ".txt", ""):
            found = MACHINE_PATH.search(path.read_text(encoding="utf-8"))
            if found:
                text = f"{name}: holds a path of a machine, {found.group()}"
                raise CheckFailedError(text, "MACHINE_PATH")
    return "no file runs code when it is loaded; no machine paths"


def check_metadata(bundle: Bundle) -> str:
    """``metadata.json`` says what MONAI, MONAI Label and MONAI Deploy read."""
    metadata = bundle.metadata
    _require_types(metadata, METADATA_TYPES, "metadata.json")
    if metadata["version"] not in metadata["changelog"]:
        raise CheckFailedError(f"changelog does not name version {metadata['version']}")
    formats = metadata["network_data_format"]
    table = bundle.table
    inputs = ["image"] if table is None else list(table)
    if list(formats.get("inputs", {})) != inputs or list(formats.get("outputs", {})) != ["pred"]:
        raise CheckFailedError(f"expected exactly {_these('input', inputs)}, and one output, pred")
    for name, tensor in formats["inputs"].items():
        row = table is not None and table[name] is not None
        _check_tensor(tensor, "inputs", "tabular" if row else "image")
    _check_tensor(formats["outputs"]["pred"], "outputs", "probabilities")
    return "all required keys, types and channels"


def _these(word: str, names: list[str]) -> str:
    return f"one {word}, {names[0]}" if len(names) == 1 else f"{word}s {', '.join(names)}"


def _check_tensor(tensor: Any, kind: str, expected: str) -> None:
    _require_types(tensor, TENSOR_TYPES, kind)
    channels = [str(c) for c in range(tensor["num_channels"])]
    if tensor["type"] != expected or tensor["dtype"] != "float32":
        raise CheckFailedError(
            f"{kind}: type {tensor['type']}, {tensor['dtype']}; expected {expected}"
        )
    if list(tensor["channel_def"]) != channels:
        raise CheckFailedError(f"{kind}: channel_def is not complete from 0 to {len(channels) - 1}")


def check_schema(bundle: Bundle) -> str:
    """``metadata.json`` is valid by MONAI's public schema."""
    if not bundle.schema:
        raise CheckSkippedError("MONAI's public schema was not given (--schema FILE)")
    import jsonschema

    schema = json.loads(Path(bundle.schema).read_text(encoding="utf-8"))
    jsonschema.validate(bundle.metadata, schema)
    return f"valid by {Path(bundle.schema).name}"


def check_imports(bundle: Bundle) -> str:
    """This process shows how the bundle runs where medfuse is absent."""
    for name in ("medfuse", "medfuse.model"):
        try:
            __import__(name)
        except ModuleNotFoundError:
            continue
        raise CheckFailedError("this process can import medfuse, so nothing would be shown")
    text = "\n".join(p.read_text("utf-8") for p in (bundle.root / "scripts").rglob("*.py"))
    if re.search(r"^\s*(?:from|import)\s+medfuse", text, re.MULTILINE):
        raise CheckFailedError("a script imports medfuse")
    return "medfuse is not importable here"


def _require_types(found: Any, types: dict[str, Any], where: str) -> None:
    for key, expected in types.items():
        if not isinstance(found.get(key), expected):
            value = repr(found.get(key))[:60]
            raise CheckFailedError(f"{where}: {key} is {value}, expected {expected.__name__}")
