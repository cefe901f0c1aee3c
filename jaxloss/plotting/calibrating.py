"""Whether probabilities mean what they say, as a picture."""

import numpy as np
from matplotlib.figure import Figure

from jaxloss.evaluation import Calibration
from jaxloss.plotting.style import BLUE, FAINT, GRID, house_style


def plot_calibration(found: Calibration, *, title: str = "") -> Figure:
    """Draw how often predictions came true against how sure they were.

    On the diagonal they mean what they say; below it they were too sure. Beneath is how many
    predictions there are at each confidence.

    Args:
        found: from :func:`jaxloss.evaluation.calibration`.
        title: above the figure.
    """
    with house_style():
        figure = Figure(figsize=(4.8, 5.8), layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=[5, 1])
        upper.grid(color=GRID, linewidth=0.8)
        upper.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
        errors = np.abs([found.accuracy - found.low, found.high - found.accuracy])
        upper.errorbar(
            found.confidence,
            found.accuracy,
            yerr=errors,
            fmt="o",
            clip_on=False,
            color=BLUE,
            markersize=5.5,
            elinewidth=1.6,
            label=f"calibration error {found.error:.3f}",
        )
        upper.set(ylabel="came true", xlim=(0, 1), ylim=(0, 1))
        upper.set_box_aspect(1)
        upper.tick_params(labelbottom=False)
        upper.legend(loc="upper left", handlelength=1)
        widths = np.maximum(np.diff(found.edges), 1e-3)
        density = found.counts / found.counts.sum() / widths
        lower.bar(found.edges[:-1], density, widths, align="edge", color=BLUE, alpha=0.35)
        lower.set(xlabel="confidence", ylabel="density", xlim=(0, 1), yticks=[])
        lower.set_box_aspect(0.2)
        if title:
            upper.set_title(title)
    return figure
