"""Loss and accuracy of training and validation over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medfuse.plots.style import DPI, INK, color, dash, label, tidy


def training_history(
    history: Mapping[str, Sequence[float | None]], best_epoch: int | None = None
) -> Figure:
    """Return loss and accuracy curves, train against validation, the best epoch marked.

    Args:
        history: values per epoch under ``train_loss``, ``validation_loss``, ``train_accuracy``
            and ``validation_accuracy``; what is absent is not drawn, ``None`` leaves a gap.
        best_epoch: counted from 1.
    """
    measures = [m for m in ("loss", "accuracy") if any(key.endswith(m) for key in history)]
    measures = measures or ["loss"]
    figure = Figure(
        figsize=(3.8 * len(measures), 3.4), layout="constrained", facecolor="white", dpi=DPI
    )
    for number, measure in enumerate(measures):
        axes = figure.add_subplot(1, len(measures), number + 1)
        tidy(axes)
        _draw(axes, history, measure, best_epoch)
    shown = [axes.get_legend_handles_labels() for axes in figure.axes]
    named = {name: handle for found in shown for handle, name in zip(*found, strict=True)}
    if named:
        figure.legend(
            list(named.values()),
            list(named),
            loc="outside lower center",
            ncols=3,
            fontsize=9,
            frameon=False,
        )
    return figure


def _draw(
    axes: Axes, history: Mapping[str, Sequence[float | None]], measure: str, best: int | None
) -> None:
    for index, part in enumerate(("train", "validation")):
        given = history.get(f"{part}_{measure}")
        if given is None or len(given) == 0:
            continue
        values = np.array([np.nan if v is None else v for v in given], dtype=float)
        epochs = np.arange(1, len(values) + 1)
        marker = "o" if len(values) <= 15 else None
        axes.plot(
            epochs, values, color=color(index), linestyle=dash(index), label=part, marker=marker,
            markersize=3.5, linewidth=1.8,
        )  # fmt: skip
        if best is not None and part == "validation" and 1 <= best <= len(values):
            axes.plot(best, values[best - 1], "*", color=INK, markersize=10, zorder=5)
    if best is not None:
        axes.axvline(best, color=INK, linewidth=0.9, linestyle=":", label=f"best epoch ({best})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    unit = "loss" if measure == "loss" else "accuracy (fraction of cases)"
    label(axes, f"Training: {measure}", "epoch", unit)
