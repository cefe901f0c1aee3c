"""Figures of what training and evaluation return. Needs the extra ``plot``.

Each function returns a :class:`matplotlib.figure.Figure`, to be saved by ``figure.savefig`` or
shown by a notebook. None touches pyplot, its global state or its settings.
"""

try:
    import matplotlib as matplotlib
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "jaxloss.plotting needs matplotlib: pip install 'jaxloss[plot]'", name="matplotlib"
    ) from error

from jaxloss.plotting.calibrating import plot_calibration as plot_calibration
from jaxloss.plotting.comparing import plot_comparison as plot_comparison
from jaxloss.plotting.comparing import plot_groups as plot_groups
from jaxloss.plotting.curves import plot_loss as plot_loss
from jaxloss.plotting.landscapes import plot_landscape as plot_landscape
