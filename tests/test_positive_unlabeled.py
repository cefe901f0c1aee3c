"""Risks from yeses and unlabeled examples."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses.positive_unlabeled import non_negative, unbiased

close = functools.partial(np.testing.assert_allclose, rtol=2e-5)


@pytest.mark.parametrize("surrogate", ["sigmoid", "logistic"])
def test_the_estimate_is_unbiased(surrogate):
    """Of all ways to draw yeses from the yeses, with all examples unlabeled, the mean."""
    loss = jax.nn.sigmoid if surrogate == "sigmoid" else jax.nn.softplus
    scores = jnp.array([2.0, -0.3, 0.7, -1.0, 0.1])
    yes = jnp.array([True, True, False, False, False])
    risk = jnp.where(yes, loss(-scores), loss(scores)).mean()
    found = [
        unbiased(
            jnp.append(scores, scores[i]),
            jnp.array([0, 0, 0, 0, 0, 1]),
            prior=2 / 5,
            surrogate=surrogate,
        )
        for i in (0, 1)
    ]
    close(np.mean(found), risk)


def test_non_negative_is_the_unbiased_one_until_it_would_be_negative():
    scores, targets = jnp.array([1.0, -1.0, 0.5]), jnp.array([1, 0, 0])
    close(non_negative(scores, targets, prior=0.1), unbiased(scores, targets, prior=0.1))
    overfit = jnp.array([5.0, -9.0, -9.0])
    assert unbiased(overfit, targets, prior=0.5) < non_negative(overfit, targets, prior=0.5)
    slope = jax.grad(non_negative)(overfit, targets, prior=0.5)
    assert slope[0] < 0
    assert (slope[1:] == 0).all()


@pytest.mark.parametrize("loss", [unbiased, non_negative])
def test_one_side_only_and_extreme_scores(loss):
    for targets in ([1, 1, 1], [0, 0, 0]):
        for surrogate in ("sigmoid", "logistic"):
            value, slope = jax.value_and_grad(loss)(
                jnp.array([1e4, -1e4, 0.0]), jnp.array(targets), surrogate=surrogate
            )
            assert jnp.isfinite(value)
            assert jnp.isfinite(slope).all()


@pytest.mark.usefixtures("as_users_run_it")
def test_an_unknown_surrogate_is_refused():
    words = "unbiased: surrogate must be 'sigmoid' or 'logistic', got 'hinge'"
    unknown: Any = "hinge"
    with pytest.raises(ValueError, match=words):
        unbiased(jnp.zeros(2), jnp.zeros(2), surrogate=unknown)
