"""The definition, integrated, of normal distributions with limits."""

import numpy as np
import scipy.stats

from jaxloss.losses import crps_limits
from tests.oracles import Row
from tests.oracles.crps import score


def limited(cdf):
    def oracle(predictions, scales, targets, lower=None, upper=None):
        low = -np.inf if lower is None else lower
        high = np.inf if upper is None else upper

        def each(m, s, t):
            breaks = m + s * np.arange(-12.0, 13, 0.5)
            inside = np.unique(np.clip([*breaks, t], low, high))
            ends = [x for x in (lower, upper) if x is not None]
            law = scipy.stats.norm(m, s)
            return score(lambda x: cdf(law, low, high, x), t, [*inside, *ends])

        return np.vectorize(each)(predictions, scales, targets)

    return oracle


@limited
def censored_gaussian(law, low, high, x):
    return np.where(x < low, 0, np.where(x >= high, 1, law.cdf(x)))


@limited
def truncated_gaussian(law, low, high, x):
    share = (law.cdf(x) - law.cdf(low)) / (law.cdf(high) - law.cdf(low))
    return np.where(x < low, 0, np.where(x >= high, 1, share))


OPTIONS = ({}, {"lower": -1.7}, {"upper": 1.4}, {"lower": -2.3, "upper": 2.9})
ROWS = [
    *(Row(crps_limits.censored_gaussian, censored_gaussian, options) for options in OPTIONS),
    *(Row(crps_limits.truncated_gaussian, truncated_gaussian, options) for options in OPTIONS),
]
