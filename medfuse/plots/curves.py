"""ROC and precision-recall curves per class, with bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medfuse.plots.style import FAINT, color, dash, label, legend_below, new_figure, short

_AGAINST = {"class": "one class against the rest", "label": "each label against its absence"}
_MOST_BANDS = 4


def roc(
    curves: Mapping[str, Mapping[str, Any]],
    areas: Mapping[str, Mapping[str, Any]],
    of: Literal["class", "label"] = "class",
) -> Figure:
    """Return one ROC curve per class; bands are drawn for up to four classes.

    Args:
        curves: per class ``x`` (1 - specificity) and ``y`` (sensitivity), and the band ``low``
            and ``high`` at ``grid`` where there is one.
        areas: per class ``value``, ``low`` and ``high`` of the AUROC.
        of: what each curve is of.
    """
    figure, axes = new_figure(_width(curves), _height(curves))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=":")
    _draw(axes, curves, areas, "AUROC")
    label(axes, f"ROC curve, {_AGAINST[of]}", "1 - specificity", "sensitivity")
    _finish(figure, axes, curves, of)
    return figure


def precision_recall(
    curves: Mapping[str, Mapping[str, Any]],
    areas: Mapping[str, Mapping[str, Any]],
    of: Literal["class", "label"] = "class",
) -> Figure:
    """Return one precision-recall curve per class, with the precision of guessing dotted.

    Args:
        curves: as for `roc`, ``x`` the recall, ``y`` the precision, ``base`` the prevalence.
        areas: per class ``value``, ``low`` and ``high`` of the average precision.
        of: what each curve is of.
    """
    figure, axes = new_figure(_width(curves), _height(curves))
    for index, curve in enumerate(curves.values()):
        if "base" in curve and len(curves) <= _MOST_BANDS:
            axes.axhline(curve["base"], color=color(index), linewidth=0.9, linestyle=":")
    _draw(axes, curves, areas, "AUPRC")
    label(axes, f"Precision-recall curve, {_AGAINST[of]}", "recall", "precision")
    _finish(figure, axes, curves, of)
    return figure


def _draw(
    axes: Axes,
    curves: Mapping[str, Mapping[str, Any]],
    areas: Mapping[str, Mapping[str, Any]],
    measure: str,
) -> None:
    for index, (name, curve) in enumerate(curves.items()):
        style = dash(index // 7 if len(curves) > 7 else index)
        shown = short(name, 26 if len(curves) <= 8 else 18, 1)
        axes.plot(
            curve["x"], curve["y"], color=color(index), linestyle=style, linewidth=1.8,
            drawstyle="steps-post" if measure == "AUROC" else "default",
            label=f"{shown}: {_area(areas.get(name, {}), measure)}",
        )  # fmt: skip
        if "low" in curve and len(curves) <= _MOST_BANDS:
            axes.fill_between(
                curve["grid"], curve["low"], curve["high"], color=color(index), alpha=0.13,
                linewidth=0,
            )  # fmt: skip


def _finish(figure: Figure, axes: Axes, curves: Mapping[str, Any], of: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
    if curves:
        legend_below(figure, axes, columns=1 if len(curves) <= 8 else 2)
    else:
        axes.text(0.5, 0.6, f"no {of} has both\npositive and negative cases", ha="center")


def _width(curves: Mapping[str, Any]) -> float:
    return 4.9 if len(curves) <= 8 else 7.2


def _height(curves: Mapping[str, Any]) -> float:
    rows = len(curves) if len(curves) <= 8 else (len(curves) + 1) // 2
    return 5.1 + 0.22 * rows


def _area(area: Mapping[str, Any], measure: str) -> str:
    if area.get("value") is None:
        return f"{measure} undefined"
    text = f"{measure} {area['value']:.3f}"
    if area.get("low") is None:
        return text
    return f"{text} [{area['low']:.3f}, {area['high']:.3f}]"
