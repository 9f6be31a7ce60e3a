"""The three steps as operators of MONAI Deploy; what each does is in the module of its name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from .classify import classify
from .find import find_reference
from .judged_bundle import JudgedBundle
from .outcome import Case, Outcome, RefusedError
from .report import write_case

logger = logging.getLogger(__name__)


class FindOperator(Operator):
    """Emits the one case of the input folder."""

    def __init__(
        self, fragment: Fragment, *args: Any, bundle: JudgedBundle, folder: Path, **kwargs: Any
    ) -> None:
        self.bundle, self.folder = bundle, folder
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the output."""
        spec.output("case")

    def compute(self, _input: Any, output: Any, _context: Any) -> None:
        """Find it, or say why there is none."""
        output.emit(_tried(Case(), self._found), "case")

    def _found(self) -> Case:
        return Case(find_reference(self.bundle, self.folder))


class ClassifyOperator(Operator):
    """Emits the case with the bundle's answer."""

    def __init__(self, fragment: Fragment, *args: Any, bundle: JudgedBundle, **kwargs: Any) -> None:
        self.bundle = bundle
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare input and output."""
        spec.input("case")
        spec.output("case")

    def compute(self, given: Any, output: Any, _context: Any) -> None:
        """Judge the case, unless there is none."""
        case: Case = given.receive("case")
        if not case.ended:
            case = _tried(case, lambda: self._judged(case))
        output.emit(case, "case")

    def _judged(self, case: Case) -> Case:
        return Case(case.reference, classify(self.bundle, case.reference))


class ReportOperator(Operator):
    """Writes ``result.json`` and the report, and tells the outcome."""

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        bundle: JudgedBundle,
        output: Path,
        outcome: Outcome,
        **kwargs: Any,
    ) -> None:
        self.bundle, self.output, self.outcome = bundle, output, outcome
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the input."""
        spec.input("case")

    def compute(self, given: Any, _output: Any, _context: Any) -> None:
        """Write all that is known."""
        case: Case = given.receive("case")
        result = write_case(self.bundle, case, self.output)
        self.outcome.exit_code = {"refused": Outcome.REFUSED, "failed": Outcome.FAILED}.get(
            result["status"], Outcome.JUDGED
        )
        logger.info("%s %s", result["status"], result["reason_code"])


def _tried(case: Case, step: Callable[[], Case]) -> Case:
    """Return what a step gives; its failure becomes a named status, so that it is written down."""
    try:
        return step()
    except RefusedError as error:
        return case.refused(error)
    except Exception as error:  # its text may quote the images
        logger.debug("the application failed", exc_info=True)
        code = getattr(error, "code", "") or "RUN_FAILED"
        text = f"the application ended with {type(error).__name__}"
        return case.refused(RefusedError(str(code), text, "failed"))
