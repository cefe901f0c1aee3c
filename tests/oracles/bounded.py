"""Negative log-likelihoods of targets that have bounds, of SciPy."""

from typing import Any

import mpmath
import numpy as np
import scipy.stats

from jaxloss.losses import bounded
from tests.oracles import Row


def beta(logits, concentrations, target_shares):
    """To many digits: SciPy's has nine left at a concentration of 1e5."""

    def one(logit, concentration, share):
        with mpmath.workdps(40):
            z, n, t = map(mpmath.mpf, (logit, concentration, share))
            a, b = n / (1 + mpmath.exp(-z)), n / (1 + mpmath.exp(z))
            density = t ** (a - 1) * (1 - t) ** (b - 1) / mpmath.beta(a, b)
            return float(-mpmath.log(density))

    return np.vectorize(one)(logits, concentrations, target_shares)


def von_mises(predictions, concentrations, targets):
    return -scipy.stats.vonmises.logpdf(targets, concentrations, loc=predictions)


def tobit(predictions, scales, targets, lower=-np.inf, upper=np.inf):
    normal: Any = scipy.stats.norm(predictions, scales)
    inside = np.where(targets >= upper, -normal.logsf(upper), -normal.logpdf(targets))
    return np.where(targets <= lower, -normal.logcdf(lower), inside)


def concentrated():
    generator = np.random.default_rng(0)
    concentrations = np.geomspace(0.1, 1e5, 20).astype(np.float32)
    center = generator.normal(size=20).astype(np.float32)
    targets = center + generator.normal(size=20) / np.sqrt(concentrations)
    return center, concentrations, targets.astype(np.float32)


def near_the_mean():
    logits, concentrations, _ = concentrated()
    means = 1 / (1 + np.exp(-logits.astype(float)))
    spread = np.sqrt(means * (1 - means) / concentrations)
    shares = means + spread * np.random.default_rng(1).normal(size=20)
    return logits, concentrations, np.clip(shares, 0.01, 0.99).astype(np.float32)


ROWS = [
    Row(bounded.beta, beta, {}, near_the_mean),
    Row(bounded.von_mises, von_mises),
    Row(bounded.von_mises, von_mises, {}, concentrated),
    Row(bounded.tobit, tobit),
    Row(bounded.tobit, tobit, {"lower": -0.3}),
    Row(bounded.tobit, tobit, {"lower": -0.3, "upper": 0.7}),
]
