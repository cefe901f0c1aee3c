"""Differences and means with their confidence intervals, one line each."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxloss.evaluation import Comparison, Evaluation
from jaxloss.evaluation.tables import count_text
from jaxloss.plotting.style import BLUE, FAINT, GRID, INK, RED, house_style, new_figure

COLORS = {"better": BLUE, "worse": RED, "equivalent": INK, "undecided": FAINT}
MARKERS = {"better": "o", "worse": "s", "equivalent": "D", "undecided": "o"}


def plot_comparison(comparison: Comparison, *, title: str = "") -> Figure:
    """Draw how each model differs from the baseline, as a forest plot.

    Args:
        comparison: from :func:`jaxloss.evaluation.compare`.
        title: above the figure; by default what the comparison is about.
    """
    rivals = {
        name: (model.difference, model.verdict)
        for name, model in comparison.models.items()
        if model.difference is not None
    }
    with house_style():
        figure, axes = new_figure(7.2, 1.5 + 0.42 * len(rivals))
        axes.axvline(0, color=FAINT, linewidth=1)
        if comparison.negligible:
            axes.axvspan(
                -comparison.negligible,
                comparison.negligible,
                color=GRID,
                linewidth=0,
                zorder=0,
                label="negligible",
            )
            axes.legend(loc="upper right", handlelength=1, handleheight=1)
        for row, (difference, verdict) in enumerate(rivals.values()):
            color = COLORS[verdict]
            _interval(axes, row, difference.low, difference.value, difference.high, color, verdict)
            axes.annotate(
                verdict,
                (1.02, row),
                xycoords=axes.get_yaxis_transform(),
                va="center",
                color=color,
            )
        _rows(axes, list(rivals))
        axes.set_xlabel(
            f"loss minus that of {comparison.baseline}, with {comparison.confidence:.0%} interval"
            "  (left is better)"
        )
        axes.set_title(title or f"About {comparison.question}")
    return figure


def plot_groups(evaluation: Evaluation, *, confidence: float = 0.95, title: str = "") -> Figure:
    """Draw the mean of each group with its confidence interval, the worst on top.

    Args:
        evaluation: from :func:`jaxloss.evaluation.evaluate`, with groups.
        confidence: of the intervals.
        title: above the figure.
    """
    groups = {name: group for name, group in evaluation.groups.items() if group.examples}
    if not groups:
        raise ValueError("plot_groups: evaluation must have groups, got none")
    worst, _ = evaluation.worst_group()
    names = sorted(groups, key=lambda name: -groups[name].mean)
    with house_style():
        figure, axes = new_figure(7.2, 1.5 + 0.36 * len(names))
        axes.axvline(
            evaluation.mean, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), label="all examples"
        )
        for row, name in enumerate(names):
            low, high = groups[name].interval(confidence)
            color = RED if name == worst else BLUE
            _interval(axes, row, low, groups[name].mean, high, color, "better")
            axes.annotate(
                f"n = {count_text(groups[name].examples)}",
                (1.02, row),
                xycoords=axes.get_yaxis_transform(),
                va="center",
                color=FAINT,
            )
        _rows(axes, [str(name) for name in names])
        axes.set_xlabel(f"mean loss, with {confidence:.0%} interval")
        axes.legend(loc="lower right")
        if title:
            axes.set_title(title)
    return figure


def _interval(
    axes: Axes, row: int, low: float, value: float, high: float, color: str, verdict: str
) -> None:
    if np.isfinite([low, high]).all():
        axes.plot([low, high], [row, row], color=color, linewidth=2, solid_capstyle="round")
    face = "white" if verdict == "undecided" else color
    axes.plot(
        value,
        row,
        MARKERS[verdict],
        color=color,
        markersize=7,
        markerfacecolor=face,
        markeredgewidth=1.6,
    )


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.margins(x=0.06)
