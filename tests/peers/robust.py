"""Losses between absolute and squared error of the peers."""

import numpy as np
import pytest

from jaxloss.losses import robust
from tests.oracles import Row


def torch_smooth_l1(predictions, targets, delta):
    torch = pytest.importorskip("torch")

    predicted, actual = map(torch.tensor, (predictions, targets))
    return torch.nn.functional.smooth_l1_loss(predicted, actual, reduction="none", beta=delta)


def torch_huber_over_delta(predictions, targets, delta):
    torch = pytest.importorskip("torch")

    loss = torch.nn.functional.huber_loss(
        *map(torch.tensor, (predictions, targets)), reduction="none", delta=delta
    )
    return loss / delta


def scipy_pseudo_huber(predictions, targets, delta):
    import scipy.special

    return scipy.special.pseudo_huber(delta, predictions - targets)


def scipy_soft_l1(predictions, targets, delta):
    """SciPy's cost of a fit with nothing to fit."""
    import scipy.optimize

    def cost(error):
        return scipy.optimize.least_squares(
            lambda _: np.array([error]), [0.0], loss="soft_l1", f_scale=delta
        ).cost

    return np.vectorize(cost)(predictions - targets)


def sklearn_epsilon_insensitive(predictions, targets, tolerance):
    from sklearn.linear_model._sgd_fast import EpsilonInsensitive

    loss = EpsilonInsensitive(tolerance)
    return np.vectorize(loss.py_loss)(predictions.astype(float), targets.astype(float))


PEERS = [
    Row(robust.smooth_l1, torch_smooth_l1, {"delta": 0.7}),
    Row(robust.smooth_l1, torch_smooth_l1, {"delta": 0.0}),
    Row(robust.smooth_l1, torch_huber_over_delta, {"delta": 0.7}),
    Row(robust.pseudo_huber, scipy_pseudo_huber, {"delta": 0.7}),
    Row(robust.pseudo_huber, scipy_soft_l1, {"delta": 0.7}),
    Row(robust.epsilon_insensitive, sklearn_epsilon_insensitive, {"tolerance": 0.3}),
]
