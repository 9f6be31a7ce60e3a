"""The application: series -> bundle -> result.json and a structured report."""

from __future__ import annotations

import os
from pathlib import Path

from lib.judged_bundle import JudgedBundle
from lib.operators import ClassifyOperator, FindOperator, ReportOperator
from lib.outcome import Outcome
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, RuntimeEnv

# Mercure sets its own names, older MONAI Deploy others; a command line goes before all of them.
_FOLDERS = {
    "input": ("HOLOSCAN_INPUT_PATH", "MONAI_INPUTPATH", "MERCURE_IN_DIR"),
    "output": ("HOLOSCAN_OUTPUT_PATH", "MONAI_OUTPUTPATH", "MERCURE_OUT_DIR"),
    "model": ("HOLOSCAN_MODEL_PATH", "MONAI_MODELPATH"),
}


class BundleApplication(Application):
    """Judges one series by one bundle.

    Args:
        context: names the folders.
        outcome: is told how it went.
    """

    def __init__(self, context: AppContext, outcome: Outcome) -> None:
        self._given, self._outcome = context, outcome
        super().__init__()

    def compose(self) -> None:
        """Connect the three steps; each hands on a `lib.outcome.Case`."""
        given, once = self._given, CountCondition(self, 1)
        bundle = JudgedBundle.found(Path(given.model_path), Path(__file__).parent)
        folder, output = (Path(path).absolute() for path in (given.input_path, given.output_path))
        find = FindOperator(self, once, bundle=bundle, folder=folder, name="find")
        classify = ClassifyOperator(self, bundle=bundle, name="classify")
        report = ReportOperator(
            self, bundle=bundle, output=output, outcome=self._outcome, name="report"
        )
        self.add_flow(find, classify, {("case", "case")})
        self.add_flow(classify, report, {("case", "case")})


def main() -> int:
    """Run it; return 0 where the case was judged, 3 where it was refused, 1 where it failed."""
    context = Application.init_app_context(None, _environment())
    outcome = Outcome()
    if (Path(context.output_path) / outcome.result).exists():
        print(f"{context.output_path}: holds a {outcome.result}, which is never replaced.")
        return outcome.FAILED
    BundleApplication(context, outcome).run()
    return outcome.exit_code


def _environment() -> RuntimeEnv:
    found = {
        name: next(variable for variable in variables if variable in os.environ)
        for name, variables in _FOLDERS.items()
        if any(variable in os.environ for variable in variables)
    }
    defaults = RuntimeEnv.ENV_DEFAULT
    return RuntimeEnv({name: (variable, defaults[name][1]) for name, variable in found.items()})
