"""Families of divergences in float64 NumPy."""

import numpy as np
from scipy.special import kl_div, rel_entr

from jaxloss import power_divergence
from tests.oracles import Row
from tests.oracles.divergence import distributions


def alpha(log_q, log_t, order):
    q, t = np.exp(log_q), np.exp(log_t)
    if order == 1:
        return rel_entr(t, q).sum(-1)
    if order == 0:
        return rel_entr(q, t).sum(-1)
    return ((t**order * q ** (1 - order)).sum(-1) - 1) / (order * (order - 1))


def renyi(log_q, log_t, order):
    q, t = np.exp(log_q), np.exp(log_t)
    if order == 1:
        return rel_entr(t, q).sum(-1)
    return np.log((t**order * q ** (1 - order)).sum(-1)) / (order - 1)


def generalized_kl(log_predictions, log_targets):
    return kl_div(np.exp(log_targets), np.exp(log_predictions))


def itakura_saito(log_predictions, log_targets):
    ratio = np.exp(log_targets) / np.exp(log_predictions)
    return ratio - np.log(ratio) - 1


def beta(log_predictions, log_targets, order):
    p, t = np.exp(log_predictions), np.exp(log_targets)
    if order == 1:
        return generalized_kl(log_predictions, log_targets)
    if order == 0:
        return itakura_saito(log_predictions, log_targets)
    above = t**order + (order - 1) * p**order - order * t * p ** (order - 1)
    return above / (order * (order - 1))


def of_order(loss, oracle, orders, inputs=None):
    return [Row(loss, oracle, {"order": order}, inputs) for order in orders]


ROWS = [
    *of_order(power_divergence.alpha, alpha, (-0.7, 0.0, 0.3, 1.0, 3.0), distributions),
    *of_order(power_divergence.renyi, renyi, (0.3, 1.0, 4.0), distributions),
    Row(power_divergence.generalized_kl, generalized_kl),
    Row(power_divergence.itakura_saito, itakura_saito),
    *of_order(power_divergence.beta, beta, (-0.7, 0.0, 0.3, 1.0, 2.0, 2.7)),
]
