"""Run all checks, and write what they found."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import file_checks, labelled_checks, run_checks
from .subject import Bundle, CheckSkippedError, root_cause

CHECKS: tuple[tuple[str, Callable[[Bundle], str]], ...] = (
    ("files", file_checks.check_files),
    ("names", file_checks.check_names),
    ("digests", file_checks.check_digests),
    ("contents", file_checks.check_contents),
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
            ``schema`` (a file, or ``None``).
    """
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    results = results_of(Bundle(settings))
    Path(settings["report"]).write_text(json.dumps(results), encoding="utf-8")


def results_of(bundle: Bundle) -> list[dict[str, str]]:
    """Return one ``{"name", "status", "detail"}`` per check; a failure stops no other check."""
    return [{"name": name, **_result(check, bundle)} for name, check in CHECKS]


def _result(check: Callable[[Bundle], str], bundle: Bundle) -> dict[str, str]:
    try:
        return {"status": "ok", "detail": check(bundle)}
    except CheckSkippedError as reason:
        return {"status": "skipped", "detail": str(reason)}
    except Exception as error:  # noqa: BLE001 - a bundle may raise anything; it is reported
        return {"status": "failed", "detail": root_cause(error)}
