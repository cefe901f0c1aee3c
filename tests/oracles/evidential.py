"""Evidential losses in float64 NumPy."""

import numpy as np
import scipy.stats
from scipy.special import digamma, gammaln

from jaxloss.losses import evidential
from tests.oracles import Row


def regression(predictions, pseudo_counts, concentrations, rates, targets, evidence_weight):
    scale = np.sqrt(rates * (1 + pseudo_counts) / pseudo_counts / concentrations)
    nll = -scipy.stats.t.logpdf(targets, 2 * concentrations, predictions, scale)
    evidence = 2 * pseudo_counts + concentrations
    return nll + evidence_weight * np.abs(targets - predictions) * evidence


def classification(evidence, labels, form="squared", kl_weight=0.0):
    losses = []
    for e, y in zip(evidence, labels, strict=True):
        alpha, one_hot = e + 1, np.eye(len(e))[y]
        total = alpha.sum()
        p = alpha / total
        loss = {
            "squared": ((one_hot - p) ** 2 + p * (1 - p) / (total + 1)).sum(),
            "log": np.log(total) - np.log(alpha[y]),
            "digamma": digamma(total) - digamma(alpha[y]),
        }[form]
        left = np.where(one_hot == 1, 1, alpha)
        divergence = gammaln(left.sum()) - gammaln(len(e)) - gammaln(left).sum()
        divergence += ((left - 1) * (digamma(left) - digamma(left.sum()))).sum()
        losses.append(loss + kl_weight * divergence)
    return np.array(losses)


ROWS = [
    Row(evidential.regression, regression, {"evidence_weight": 0.3}),
    *(
        Row(evidential.classification, classification, {"form": form, "kl_weight": weight})
        for form in ("squared", "log", "digamma")
        for weight in (0.0, 0.7)
    ),
]
