"""Run all checks, and write what they found."""

from __future__ import annotations

import gc
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import file_checks, labelled_checks, run_checks
from .subject import Bundle, CheckSkippedError, root_cause

Check = Callable[[Bundle], str]

# What has to hold before anything of the bundle is run, or read by a library.
SAFETY: tuple[tuple[str, Check], ...] = (
    ("files", file_checks.check_files),
    ("names", file_checks.check_names),
    ("digests", file_checks.check_digests),
    ("signature", file_checks.check_signature),
    ("contents", file_checks.check_contents),
)
CHECKS: tuple[tuple[str, Check], ...] = (
    ("metadata", file_checks.check_metadata),
    ("schema", file_checks.check_schema),
    ("isolation", file_checks.check_imports),
    ("infer_properties", run_checks.check_infer_properties),
    ("train_properties", run_checks.check_train_properties),
    ("net_in_out", run_checks.check_net_in_out),
    ("weights", run_checks.check_weights),
    ("agreement", run_checks.check_agreement),
    ("sample_run", run_checks.check_sample_run),
    ("traced_run", run_checks.check_traced_run),
    ("labelled_run", labelled_checks.check_labelled_run),
    ("empty_input", run_checks.check_empty_input),
    # the last one: Ignite keeps that there were processes
    ("multi_gpu_properties", labelled_checks.check_multi_gpu_properties),
)


def main(settings: dict[str, Any]) -> None:
    """Check a bundle and write the results as JSON.

    Args:
        settings: ``bundle``, ``work`` (an empty folder), ``report`` (the file to write) and
            ``schema`` and ``trusted_key`` (files, or ``None``).
    """
    sys.dont_write_bytecode = True
    gc.set_threshold(50_000, 20, 20)  # importing torch and MONAI makes half a million objects
    warnings.simplefilter("ignore")
    results = results_of(Bundle(settings))
    Path(settings["report"]).write_text(json.dumps(results), encoding="utf-8")


def results_of(bundle: Bundle) -> list[dict[str, str]]:
    """Return one ``{"name", "status", "detail", "code"}`` per check.

    Nothing of a bundle is run whose files are not those that were written, or are not safe to
    load; beyond that a failure stops no other check.
    """
    results = [{"name": name, **_result(check, bundle, name)} for name, check in SAFETY]
    wrong = [result["name"] for result in results if result["status"] == "failed"]
    if wrong:
        left_out = {
            "status": "skipped",
            "detail": f"not run: {', '.join(wrong)} failed",
            "code": "",
        }
        return results + [{"name": name, **left_out} for name, _ in CHECKS]
    return results + [{"name": name, **_result(check, bundle, name)} for name, check in CHECKS]


def _result(check: Check, bundle: Bundle, name: str) -> dict[str, str]:
    try:
        return {"status": "ok", "detail": check(bundle), "code": ""}
    except CheckSkippedError as reason:
        return {"status": "skipped", "detail": str(reason), "code": ""}
    except Exception as error:  # noqa: BLE001 - a bundle may raise anything; it is reported
        code = getattr(error, "code", "")
        code = code if isinstance(code, str) and code else name.upper()
        return {"status": "failed", "detail": root_cause(error), "code": code}
