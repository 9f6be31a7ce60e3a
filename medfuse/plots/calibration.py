"""Are the probabilities right? The reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medfuse.plots.style import DPI, FAINT, INK, color, label, legend_below, tidy


def reliability_diagram(
    bins: Sequence[Mapping[str, Any]],
    ece: Mapping[str, Any] | None = None,
    of: tuple[str, str] = ("the predicted class", "accuracy"),
    before: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Return accuracy over confidence, with the number of cases per bin below.

    Whiskers are 95 % Wilson intervals of a bin's accuracy (Wilson, 1927,
    doi:10.1080/01621459.1927.10502953), which take cases as independent.

    Args:
        bins: ``low``, ``high``, ``cases``, ``confidence`` and ``accuracy`` of occupied bins.
        ece: ``value``, ``low`` and ``high`` of the expected calibration error.
        of: whose probability it is, and what the share of a bin is of.
        before: the bins before calibration, drawn beside the others.
    """
    figure = Figure(figsize=(4.7, 5.0), layout="constrained", facecolor="white", dpi=DPI)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    for axes in (upper, lower):
        tidy(axes)
    x, y = [[b[key] for b in bins] for key in ("confidence", "accuracy")]
    whiskers = np.array([_wilson(b["accuracy"], b["cases"]) for b in bins]).T.reshape(2, -1)
    upper.plot(
        [0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1, label="perfectly calibrated"
    )
    if before:
        earlier = [[b[key] for b in before] for key in ("confidence", "accuracy")]
        upper.plot(
            *earlier, color=color(1), marker="s", markersize=4, linewidth=1, linestyle="--",
            label="before calibration",
        )  # fmt: skip
    upper.errorbar(
        x, y, yerr=np.abs(whiskers - np.array(y)), color=color(0), marker="o", markersize=5,
        linewidth=1.5, elinewidth=1, capsize=2, label="calibrated" if before else "model",
    )  # fmt: skip
    upper.set(xlim=(0, 1.01), ylim=(-0.02, 1.02))
    legend_below(figure, upper, columns=3 if before else 2)
    heights, lefts, widths = zip(
        *[(b["cases"], b["low"], b["high"] - b["low"]) for b in bins], strict=True
    )
    lower.bar(lefts, heights, widths, align="edge", color="#c9c9c9", edgecolor=INK, linewidth=0.5)
    label(upper, f"Reliability of {of[0]}{_text(ece)}", "", f"{of[1]} (fraction)")
    label(lower, "", "predicted probability", "cases")
    return figure


def _wilson(share: float, count: int) -> tuple[float, float]:
    z = 1.959964
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return min(center - half, share), max(center + half, share)


def _text(ece: Mapping[str, Any] | None) -> str:
    if not ece or ece.get("value") is None:
        return ""
    text = f"\nECE {ece['value']:.3f}"
    return text if ece.get("low") is None else f"{text} [{ece['low']:.3f}, {ece['high']:.3f}]"
