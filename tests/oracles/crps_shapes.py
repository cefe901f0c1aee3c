"""The definition, integrated, of distributions with a shape."""

import numpy as np
import scipy.stats

from jaxloss.losses import crps_shapes
from tests.oracles import Row
from tests.oracles.crps import score

OCTAVES = 2.0 ** np.arange(-4, 50)


def student_t(predictions, scales, targets, df):
    """The squared tails die slowly: integrated octave by octave."""
    steps = np.concatenate([-OCTAVES[::-1], [0.0], OCTAVES])

    def each(m, s, t):
        law = scipy.stats.t(df)
        breaks = np.concatenate([steps, (t - m) / s + steps])
        z = (t - m) / s

        def survivor(x):
            return np.where(x < z, law.cdf(x), -law.sf(x))

        points = np.unique(np.append(breaks, z))
        return s * score_of(survivor, points)

    return np.vectorize(each)(predictions, scales, targets)


def score_of(gap, points):
    nodes, weights = np.polynomial.legendre.leggauss(60)
    middle, half = (points[1:] + points[:-1]) / 2, np.diff(points) / 2
    x = middle[:, None] + half[:, None] * nodes
    return (half[:, None] * weights * gap(x) ** 2).sum()


def log_normal(predictions, scales, target_amounts):
    return np.vectorize(
        lambda m, s, t: score(
            scipy.stats.lognorm(s, scale=np.exp(m)).cdf,
            t,
            np.append(0.0, np.exp(m + s * np.arange(-12.0, 13, 0.5))),
        )
    )(predictions, scales, target_amounts)


def gamma(log_means, concentrations, target_amounts):
    return np.vectorize(
        lambda m, k, t: score(
            scipy.stats.gamma(k, scale=np.exp(m) / k).cdf,
            t,
            np.exp(m) * np.concatenate([[0.0], 2.0 ** np.arange(-60, 0), np.arange(1.0, 80)]),
        )
    )(log_means, concentrations, target_amounts)


ROWS = [
    Row(crps_shapes.student_t, student_t, {"df": 2.5}),
    Row(crps_shapes.log_normal, log_normal),
    Row(crps_shapes.gamma, gamma),
]
