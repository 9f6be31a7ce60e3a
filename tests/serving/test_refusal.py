from __future__ import annotations

import pytest

from medfuse.serving.refusal import refusal_of


class CodedError(ValueError):
    code = "TRUNCATED"


def nested(first: Exception) -> Exception:
    try:
        try:
            raise first
        except Exception as error:
            raise RuntimeError("applying transform") from error
    except RuntimeError as error:
        return error


def test_the_code_of_the_first_cause_is_found_below_monai_s_report() -> None:
    found = refusal_of(nested(CodedError("scan.png: ends early\ntrace")))
    assert (found.code, str(found)) == ("TRUNCATED", "scan.png: ends early")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError("x"), "FILE_NOT_FOUND"),
        (PermissionError("x"), "UNREADABLE"),
        (MemoryError(), "TOO_LARGE"),
        (KeyError("x"), "PREPROCESSING_FAILED"),
    ],
)
def test_errors_without_a_code_get_one_by_their_type(error: Exception, code: str) -> None:
    assert refusal_of(nested(error)).code == code


def test_exit_codes_of_system_errors_are_no_reason_codes() -> None:
    error = RuntimeError("x")
    error.code = 3
    assert refusal_of(error).code == "PREPROCESSING_FAILED"
