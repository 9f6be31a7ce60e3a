"""Every deliberate error of medfuse, and the exit code the command line gives it.

A message is one or two lines: what was found (with the file, row, source or plugin), what was
expected, and what to do. It never holds a patient identifier.
"""

from __future__ import annotations


class MedfuseError(Exception):
    """An error that medfuse foresaw; the command line prints it without a traceback."""

    exit_code = 1


class ConfigError(MedfuseError):
    """A configuration holds an unknown key, a wrong type or a value out of range."""


class CohortError(MedfuseError):
    """A cohort, its labels or its split cannot be used as given."""


class ImageError(MedfuseError):
    """One image cannot be read; ``code`` names the reason in reports and tables.

    Args:
        code: short upper-case reason, for example ``TRUNCATED`` or ``NOT_AN_IMAGE``.
        message: the full text, naming the file.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PluginError(MedfuseError):
    """A plugin is missing, ambiguous or broken."""


class SourceError(MedfuseError):
    """A source (backbone with weights) cannot be resolved or built."""


class WeightsError(SourceError):
    """A weights file is absent, unsafe, has another digest or does not fit the backbone."""


class BankError(MedfuseError):
    """The feature bank cannot be opened, read or written."""


class TrainingError(MedfuseError):
    """Training cannot start, continue or resume."""


class EvaluationError(MedfuseError):
    """Predictions cannot be measured or compared as given."""


class BundleError(MedfuseError):
    """A bundle cannot be written, read or verified.

    Args:
        message: the full text.
        code: stable short name of the reason, where there is one.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class OutputError(MedfuseError):
    """An output folder is in use by something else, or cannot be written."""


class PeerError(MedfuseError):
    """Another of the processes that work together has ended; no text where it says why itself."""
