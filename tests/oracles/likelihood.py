"""Negative log-likelihoods of SciPy."""

import numpy as np
import scipy.stats

from jaxloss.losses import likelihood
from tests.oracles import Row


def gaussian(predictions, scales, targets):
    return np.log(scales * np.sqrt(2 * np.pi)) + (targets - predictions) ** 2 / 2 / scales**2


def laplace(predictions, scales, targets):
    return np.log(2 * scales) + np.abs(targets - predictions) / scales


def student_t(predictions, scales, targets, df):
    return -scipy.stats.t.logpdf(targets, df, predictions, scales)


def log_normal(predictions, scales, target_amounts):
    return -scipy.stats.lognorm.logpdf(target_amounts, scales, scale=np.exp(predictions))


def multivariate_gaussian(predictions, factors, targets):
    rows = zip(predictions, factors, targets, strict=True)
    normal = scipy.stats.multivariate_normal
    return np.array([-normal.logpdf(t, p, np.tril(f) @ np.tril(f).T) for p, f, t in rows])


def gaussian_mixture(component_logits, predictions, scales, targets):
    shares = np.exp(component_logits)
    shares /= shares.sum(-1, keepdims=True)
    density = scipy.stats.norm.pdf(targets[..., None], predictions, scales)
    return -np.log((shares * density).sum(-1))


def low_rank_gaussian(predictions, scales, factors, targets):
    rows = zip(predictions, scales, factors, targets, strict=True)
    normal = scipy.stats.multivariate_normal
    return np.array([-normal.logpdf(t, p, np.diag(s**2) + f @ f.T) for p, s, f, t in rows])


ROWS = [
    Row(likelihood.low_rank_gaussian, low_rank_gaussian),
    Row(likelihood.gaussian, gaussian),
    Row(likelihood.laplace, laplace),
    *(Row(likelihood.student_t, student_t, {"df": df}) for df in (0.3, 3.0, 15.0, 17.0, 1e3)),
    Row(likelihood.log_normal, log_normal),
    Row(likelihood.multivariate_gaussian, multivariate_gaussian),
    Row(likelihood.gaussian_mixture, gaussian_mixture),
]
