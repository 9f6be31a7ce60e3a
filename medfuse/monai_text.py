"""Which texts of somebody's data a configuration of MONAI takes as they stand."""

from __future__ import annotations


def means_itself(text: str) -> bool:
    """Return whether a text is nothing but itself in a configuration.

    `monai.bundle.ConfigParser` evaluates what begins with ``$`` as Python, looks up what begins
    with ``@`` or ``%``, and writes ``::`` in the place of every ``#``.
    """
    return not text.startswith(("$", "@", "%")) and "#" not in text
