"""The loss around a point."""

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from jaxloss.evaluation import Landscape
from jaxloss.plotting.style import BLUE, GRID, INK, RED, house_style, new_figure, plain_log

LEVELS = 18


def plot_landscape(found: Landscape, *, log: bool | None = None, title: str = "") -> Figure:
    """Draw a loss along a line as a curve, on a plane as contours; a cross marks the point itself.

    Args:
        found: from :func:`jaxloss.evaluation.landscape`.
        log: whether the loss is on a logarithmic scale; by default if it is positive and varies by
            more than a factor of 30.
        title: above the figure.
    """
    at, losses = found
    finite = losses[np.isfinite(losses)]
    if not finite.size:
        raise ValueError("plot_landscape: found must have a loss that is finite, got none")
    low, high = float(finite.min()), float(finite.max())
    if log is None:
        log = low > 0 and high > 30 * low
    with house_style():
        if losses.ndim == 1:
            figure, axes = new_figure(6.0, 3.8)
            axes.grid(color=GRID, linewidth=0.8)
            axes.plot(at, losses, color=BLUE, linewidth=1.8)
            axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.set(
                xlabel="distance along the direction",
                ylabel="loss",
                yscale="log" if log else "linear",
            )
            if log:
                plain_log(axes.yaxis)
        else:
            figure, axes = new_figure(5.6, 4.6)
            high = high if high > low else low + 1
            levels = np.geomspace(low, high, LEVELS) if log else np.linspace(low, high, LEVELS)
            norm = LogNorm(low, high) if log else Normalize(low, high)
            shades = axes.contourf(at, at, losses.T, levels=levels, norm=norm, cmap="cividis")
            axes.contour(at, at, losses.T, levels=levels, colors="white", linewidths=0.4, alpha=0.6)
            axes.plot(0, 0, "+", color=RED, markersize=13, markeredgewidth=2)
            axes.set(xlabel="first direction", ylabel="second direction")
            axes.set_box_aspect(1)
            bar = figure.colorbar(shades, ax=axes, label="loss")
            bar.set_ticks(_ticks(low, high, log), minor=False)
            bar.ax.minorticks_off()
            bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
        if title:
            axes.set_title(title)
    return figure


def _ticks(low: float, high: float, log: bool) -> list[float]:
    """A handful of round numbers in between."""
    locator = LogLocator(subs=(1.0, 3.0)) if log else MaxNLocator(6)
    return [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
