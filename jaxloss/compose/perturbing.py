"""Randomness that makes maxima smooth and rankings explore."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxloss.core.inputs import Scalar, at_least_float32


def perturbed_maximum(
    argmax: Callable[[Array], Array], *, samples: int = 100, scale: Scalar = 1.0
) -> Callable[[Float[Array, "*shape"], Key[Array, ""]], Float[Array, ""]]:
    r"""A maximum made smooth by noise on the scores, given only how to find where it is.

    .. math::
        M(z) = \operatorname{E} \max_p \; \langle z + \epsilon Z, p \rangle, \qquad
        \nabla M(z) = \operatorname{E} \arg\max_p \; \langle z + \epsilon Z, p \rangle

    with normal :math:`Z`. Any solver of a discrete problem so becomes a layer that is trained:
    with :func:`fenchel_young` no derivative of the solver is needed, and the gradient is the mean
    solution minus the true one. Estimates are means over samples; their second derivatives are 0.

    Args:
        argmax: from scores to the structure, an array of their shape, with the largest scalar
            product; may be a ``jax.pure_callback``.
        samples: over how many draws the mean is; part of the compiled program.
        scale: :math:`\epsilon`, how far scores must be apart to be clearly in order; positive.

    Returns:
        ``maximum(scores, key)``.

    Example:
        >>> maximum = perturbed_maximum(lambda z: jax.nn.one_hot(z.argmax(), 3), samples=1000)
        >>> p = jax.grad(maximum)(jnp.array([9.0, 0.0, 0.0]), jax.random.key(0))
        >>> jnp.round(p, 3)
        Array([1., 0., 0.], dtype=float32)

    Reference:
        Berthet et al., "Learning with Differentiable Perturbed Optimizers", 2020.
    """
    _require_samples("perturbed_maximum", samples)

    def maximum(scores: Float[Array, "*shape"], key: Key[Array, ""]) -> Float[Array, ""]:
        score = at_least_float32(scores)
        noise = jax.random.normal(key, (samples, *score.shape), score.dtype)
        noisy = score[None] + jnp.asarray(scale).astype(score.dtype) * noise
        chosen = jax.lax.stop_gradient(jax.lax.map(argmax, jax.lax.stop_gradient(noisy)))
        return (chosen.astype(score.dtype) * noisy).sum() / samples

    return maximum


def gumbel(
    loss: Callable[..., Array], *, samples: int = 8, scale: Scalar = 1.0
) -> Callable[..., Array]:
    r"""A ranking loss in the mean over rankings drawn at random: scores with Gumbel noise.

    .. math::
        \tilde\ell(s) = \operatorname{E} \ell(s + \beta G)

    Sorted by noisy scores, items are in an order drawn from the Plackett-Luce model of the scores,
    as by :func:`jaxloss.losses.ranking.listmle`. Smooths a loss that is flat where items are far
    apart, such as :func:`jaxloss.losses.ranking_metric.approx_ndcg`.

    Args:
        loss: its first argument are the scores; all others are passed on.
        samples: over how many draws the mean is; part of the compiled program.
        scale: :math:`\beta`, not negative.

    Returns:
        ``stochastic(key, scores, *args, **kwargs)``, of the shape of what ``loss`` returns.

    Example:
        >>> stochastic = gumbel(lambda scores: scores.max(), samples=2000)
        >>> value = stochastic(jax.random.key(0), jnp.zeros(4))  # Euler's 0.577 + log 4
        >>> abs(value - 1.963) < 0.1
        Array(True, dtype=bool)

    Reference:
        Bruch et al., "A Stochastic Treatment of Learning to Rank Scoring Functions", 2020.
    """
    _require_samples("gumbel", samples)

    @functools.wraps(loss)
    def stochastic(
        key: Key[Array, ""], scores: Float[Array, "*shape"], *args: Any, **kwargs: Any
    ) -> Array:
        score = at_least_float32(scores)
        noise = jax.random.gumbel(key, (samples, *score.shape), score.dtype)
        noisy = score[None] + jnp.asarray(scale).astype(score.dtype) * noise
        return jax.vmap(lambda drawn: loss(drawn, *args, **kwargs))(noisy).mean(0)

    return stochastic


def _require_samples(name: str, samples: int) -> None:
    if samples < 1:
        raise ValueError(f"{name}: samples must be at least 1, got {samples}")
