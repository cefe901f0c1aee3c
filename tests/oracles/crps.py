"""The definition, integrated: the area between the distribution and the step, squared."""

import itertools

import numpy as np
import scipy.stats

from jaxloss.losses import crps
from tests.oracles import Row

NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(60)


def score(cdf, target, breaks):
    """Gauss-Legendre between the points where the distribution or the step is not smooth."""
    points = np.unique([*breaks, target])
    total = 0.0
    for low, high in itertools.pairwise(points):
        x = (low + high) / 2 + (high - low) / 2 * NODES
        gap = cdf(x) - (target < (low + high) / 2)
        total += (high - low) / 2 * (NODE_WEIGHTS * gap**2).sum()
    return total


def of(family, spread):
    """Scores of a family of SciPy, integrated scale by scale."""

    def oracle(predictions, scales, targets):
        return np.vectorize(
            lambda m, s, t: score(family(m, s).cdf, t, m + s * np.arange(-spread, spread + 1))
        )(predictions, scales, targets)

    return oracle


def uniform(predictions, scales, targets):
    low = predictions - scales / 2
    return np.vectorize(
        lambda a, s, t: score(scipy.stats.uniform(a, s).cdf, t, [a, a + s])
    )(low, scales, targets)  # fmt: skip


def exponential(scales, target_amounts):
    return np.vectorize(
        lambda s, t: score(scipy.stats.expon(0, s).cdf, t, s * np.arange(0.0, 40))
    )(scales, target_amounts)  # fmt: skip


def gaussian_mixture(component_logits, predictions, scales, targets):
    losses = np.zeros(targets.shape)
    for index in np.ndindex(*targets.shape):
        share = np.exp(component_logits[index])
        share /= share.sum()
        normal = scipy.stats.norm(predictions[index], scales[index])

        def cdf(x, share=share, normal=normal):
            return (share * normal.cdf(x[:, None])).sum(-1)

        losses[index] = score(cdf, targets[index], np.arange(-45.0, 46))
    return losses


ROWS = [
    Row(crps.gaussian, of(scipy.stats.norm, 12)),
    Row(crps.laplace, of(scipy.stats.laplace, 40)),
    Row(crps.logistic, of(scipy.stats.logistic, 40)),
    Row(crps.uniform, uniform),
    Row(crps.exponential, exponential),
    Row(crps.gaussian_mixture, gaussian_mixture),
]
