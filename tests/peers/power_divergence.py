"""Families of divergences of the peers."""

import numpy as np

from jaxloss import power_divergence
from tests.oracles import Row


def optax_generalized_kl(log_predictions, log_targets):
    import optax

    return optax.losses.generalized_kl_divergence(
        log_predictions[..., None], np.exp(log_targets)[..., None]
    )


def scikit_learn_beta(log_predictions, log_targets, order):
    """Scikit-learn sums over all entries."""
    from sklearn.decomposition import _nmf

    p, t = np.exp(log_predictions).ravel(), np.exp(log_targets).ravel()
    losses = [
        _nmf._beta_divergence(np.array([[y]]), np.array([[x]]), np.array([[1.0]], p.dtype), order)
        for x, y in zip(p, t, strict=True)
    ]
    return np.reshape(losses, log_predictions.shape)


PEERS = [
    Row(power_divergence.generalized_kl, optax_generalized_kl),
    *[Row(power_divergence.beta, scikit_learn_beta, {"order": b}) for b in (0.0, 0.5, 1.0, 1.7)],
]
