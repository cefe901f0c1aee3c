"""Intervals of time of which one is the last that an example was seen in."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def intervals(logits: Float[Array, "*batch classes"]) -> Int[Array, "*batch classes"]:
    """The number of each interval, along the last axis."""
    return jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)


def with_beyond(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch more"]:
    """A logit of 0 appended, for what comes after all intervals."""
    return jnp.concatenate([logits, jnp.zeros_like(logits[..., :1])], -1)


def possible_nll(
    logits: Float[Array, "*batch classes"], possible: Bool[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    """What is possible against what is not: exact, and never negative, however sure the model."""
    logits -= jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    inside = jax.nn.logsumexp(logits, -1, where=possible)
    return jax.nn.softplus(jax.nn.logsumexp(logits, -1, where=~possible) - inside)


def survivors_excess(
    risk: Float[Array, "batch *risks classes"],
    outlived: Bool[Array, "batch *risks classes"],
    own: tuple[Int[Array, " batch"], ...],
    event: Bool[Array, " batch"],
    scale: Float[Array, ""],
) -> Float[Array, " batch"]:
    r"""Sum over survivors :math:`j` of :math:`\exp((F_j - F_i) / \sigma)` at ``own`` of each event.

    It factors by intervals, so that no array of pairs is made.
    """
    anyone = outlived.any(0)
    # differences first: divided by the scale, each risk would lose a digit
    most = jnp.where(anyone, jnp.where(outlived, risk, 0).max(0), 0)
    most = jax.lax.stop_gradient(most)
    behind = jnp.exp(jnp.where(outlived, (risk - most[None]) / scale, -jnp.inf)).sum(0)
    compared = event & anyone[own]
    mine = risk[(jnp.arange(risk.shape[0]), *own)]
    ahead = jnp.exp(jnp.where(compared, (most[own] - mine) / scale, 0))
    return jnp.where(compared, ahead * behind[own], 0)
