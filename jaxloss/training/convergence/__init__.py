"""When to stop: criteria that run on the device, inside the compiled step.

A :class:`Criterion` looks at one value after another, a loss or a validation score, and says when
it has seen enough. Lower is better: negate an accuracy. Its state is a small pytree of arrays, so
it works in ``jit``, ``scan``, ``while_loop`` and ``vmap``, and is saved with the rest of a run.

A value that is NaN or infinite never counts as an improvement, nor touches any state but that of
:func:`nonfinite`. A gain is one that exceeds ``atol + rtol * |best|``, right for any sign.

:func:`default` is what to begin with. Of its parts, :func:`forecast` tells when there is nothing
left to gain, and :func:`divergence` when it has gone wrong.
"""

from jaxloss.training.convergence.averaging import averaged as averaged
from jaxloss.training.convergence.averaging import ema_crossing as ema_crossing
from jaxloss.training.convergence.averaging import window_gain as window_gain
from jaxloss.training.convergence.combining import after as after
from jaxloss.training.convergence.combining import all_of as all_of
from jaxloss.training.convergence.combining import any_of as any_of
from jaxloss.training.convergence.combining import k_of_n as k_of_n
from jaxloss.training.convergence.combining import on as on
from jaxloss.training.convergence.combining import reset_on_change as reset_on_change
from jaxloss.training.convergence.combining import reset_when as reset_when
from jaxloss.training.convergence.combining import unless as unless
from jaxloss.training.convergence.contract import Criterion as Criterion
from jaxloss.training.convergence.contract import Observation as Observation
from jaxloss.training.convergence.contract import Reason as Reason
from jaxloss.training.convergence.contract import Verdict as Verdict
from jaxloss.training.convergence.contract import explain as explain
from jaxloss.training.convergence.contract import finite_only as finite_only
from jaxloss.training.convergence.contract import margin as margin
from jaxloss.training.convergence.contract import running as running
from jaxloss.training.convergence.contract import select as select
from jaxloss.training.convergence.contract import verdict as verdict
from jaxloss.training.convergence.diverging import Spike as Spike
from jaxloss.training.convergence.diverging import SpikeDetector as SpikeDetector
from jaxloss.training.convergence.diverging import divergence as divergence
from jaxloss.training.convergence.diverging import spikes as spikes
from jaxloss.training.convergence.flatness import plateau as plateau
from jaxloss.training.convergence.forecasting import forecast as forecast
from jaxloss.training.convergence.overfitting import prechelt_gl as prechelt_gl
from jaxloss.training.convergence.overfitting import prechelt_pq as prechelt_pq
from jaxloss.training.convergence.overfitting import prechelt_up as prechelt_up
from jaxloss.training.convergence.standard import default as default
from jaxloss.training.convergence.stationarity import balances as balances
from jaxloss.training.convergence.stationarity import fdr as fdr
from jaxloss.training.convergence.stationarity import sasa as sasa
from jaxloss.training.convergence.waiting import budget as budget
from jaxloss.training.convergence.waiting import nonfinite as nonfinite
from jaxloss.training.convergence.waiting import patience as patience
from jaxloss.training.convergence.waiting import target as target
