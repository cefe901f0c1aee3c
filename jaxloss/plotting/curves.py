"""The loss of a run over its steps, and what happened on the way."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jaxloss.evaluation.tables import count_text
from jaxloss.plotting.style import (
    BLUE,
    FAINT,
    GREEN,
    GRID,
    ORANGE,
    PURPLE,
    RED,
    house_style,
    new_figure,
    plain_log,
)
from jaxloss.training import Fit

BLOCKS = 120
"""Points of a curve, at most: each stands for a block of steps."""


def plot_loss(
    result: Fit,
    *,
    spikes: Sequence[int] | np.ndarray = (),
    log: bool | None = None,
    title: str = "",
) -> Figure:
    """Draw the loss of a run by blocks: their mean, and the range of nine tenths of each.

    Marks what is known of the run: where it stopped and why, the lowest evaluation, steps that were
    not finite, and spikes. Its y-axis is logarithmic if the losses are positive and fall by more
    than a factor of ten.

    Args:
        result: from :func:`jaxloss.training.fit`.
        spikes: steps to be marked as such.
        log: whether the y-axis is logarithmic.
        title: above the figure.
    """
    history = result.history
    with house_style():
        figure, axes = new_figure(8.6, 4.0)
        axes.grid(color=GRID, linewidth=0.8)
        at, low, mean, high = _blocks(history.step, history.loss)
        axes.fill_between(
            at, low, high, color=BLUE, alpha=0.18, linewidth=0, label="nine tenths of it"
        )
        axes.plot(at, mean, color=BLUE, linewidth=1.6, label="training loss")
        shown = [low, high]
        if len(history.evaluation):
            axes.plot(
                history.evaluation_step,
                history.evaluation,
                color=ORANGE,
                linewidth=1.6,
                marker="o" if len(history.evaluation) <= 40 else "",
                markersize=4,
                label="evaluation",
            )
            shown.append(history.evaluation)
        values = np.concatenate([x[np.isfinite(x)] for x in shown])
        if log is None:
            log = bool(values.size and values.min() > 0 and values.max() > 10 * values.min())
        axes.set(xlabel="step", ylabel="loss", yscale="log" if log else "linear")
        _mark_events(axes, result, np.asarray(spikes, int))
        axes.margins(x=0.02)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count_text(round(value))))
        if log:
            plain_log(axes.yaxis)
        if title:
            axes.set_title(title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0)
    return figure


def _blocks(step: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, ...]:
    """The middle of each block of steps, and the 5th percentile, mean and 95th of its losses."""
    finite = np.isfinite(loss)
    step, loss = step[finite], loss[finite].astype(float)
    if not len(loss):
        return tuple(np.zeros((4, 0)))
    parts = np.array_split(np.arange(len(loss)), min(BLOCKS, len(loss)))
    rows = [
        (
            step[part].mean(),
            *np.percentile(loss[part], 5, keepdims=True),
            loss[part].mean(),
            np.percentile(loss[part], 95),
        )
        for part in parts
    ]
    return tuple(np.array(rows).T)


def _mark_events(axes: Axes, result: Fit, spikes: np.ndarray) -> None:
    """Where the run stopped, its best evaluation, its spikes and what was not finite."""
    history = result.history
    if len(history.evaluation) and np.isfinite(history.evaluation).any():
        best = int(np.nanargmin(history.evaluation))
        at, value = history.evaluation_step[best], history.evaluation[best]
        axes.plot(at, value, "*", color=GREEN, markersize=13, markeredgecolor="white", zorder=5)
        axes.plot(
            [],
            [],
            "*",
            color=GREEN,
            markersize=10,
            label=f"best {value:.4g}, step {count_text(int(at))}",
        )
    _rug(axes, history.step[~np.isfinite(history.loss)], PURPLE, "x", "not finite")
    _rug(axes, spikes, RED, "^", "spike")
    if len(history.step):
        end = history.step[-1] + 1
        axes.axvline(end, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.plot(
            [],
            [],
            color=FAINT,
            linewidth=1.2,
            linestyle=(0, (4, 3)),
            label=f"{result.reason.name.lower()}, step {count_text(int(end))}",
        )


def _rug(axes: Axes, steps: np.ndarray, color: str, marker: str, name: str) -> None:
    """Marks along the lower edge."""
    if len(steps):
        heights = np.full(len(steps), 0.03)
        axes.plot(
            steps,
            heights,
            marker,
            color=color,
            markersize=6,
            markeredgewidth=1.4,
            transform=axes.get_xaxis_transform(),
            linestyle="",
            label=f"{name} ({len(steps)})",
        )
