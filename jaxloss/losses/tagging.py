"""Losses of a label for every frame, where what is next to what counts too.

Lengths become masks by ``jnp.arange(size) < lengths[:, None]``. The scores of being first or last
are added to the logits of that frame.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.chains import Frames, best_chain, chain_marginals, chain_nll
from jaxloss.core.checks import (
    poison_unless_class,
    require_floating,
    require_integer,
    require_option,
    require_rank,
    require_shape,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import masked, promoted, selection
from jaxloss.core.reducing import Reduction, reduce


@compiled("impossible", "reduction")
def crf(
    logits: Float[ArrayLike, "batch time classes"],
    labels: Int[ArrayLike, "batch time"],
    transition_logits: Float[ArrayLike, "classes classes"],
    *,
    impossible: Literal["infinite", "ignored"] = "infinite",
    where: Bool[ArrayLike, "#batch #time"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of a chain of labels, in which neighbors depend on each other.

    .. math::
        \ell = \log \sum_{y'} e^{s(y')} - s(y), \qquad
        s(y) = \sum_t z_{t, y_t} + \sum_{t > 1} A_{y_{t - 1}, y_t}

    A linear-chain conditional random field. If all transitions are equal it is the sum over frames
    of :func:`jaxloss.losses.classification.softmax_cross_entropy`; minus infinity rules out what
    may not follow. :func:`viterbi` finds the most likely chain, :func:`crf_marginals` the
    probability of each label. The unreduced shape is ``batch``.

    Args:
        transition_logits: :math:`A`, in row :math:`c` and column :math:`d` the score of label
            :math:`d` after label :math:`c`.
        impossible: what labels cost that are ruled out: ``"infinite"``, or ``"ignored"``, as if the
            example did not exist. Their gradient is 0.
        where: which frames exist; those around one that does not are neighbors. An example without
            any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole examples.

    Example:
        Two labels in two frames, of which 1 never follows 0: one of three chains.

        >>> never = jnp.array([[0.0, -jnp.inf], [0.0, 0.0]])
        >>> crf(jnp.zeros((1, 2, 2)), jnp.array([[1, 0]]), never)
        Array(1.0986123, dtype=float32)

    Reference:
        Lafferty, McCallum and Pereira, "Conditional Random Fields: Probabilistic Models for
        Segmenting and Labeling Sequence Data", 2001.
    """
    name = "crf"
    require_option(name, "impossible", impossible, ("infinite", "ignored"))
    frames = _frames(name, logits, transition_logits, where)
    labels = jnp.asarray(labels)
    require_integer(name, labels=labels)
    wanted = "one class id per row of logits,"
    require_shape(name, frames.logits.shape[:-1], wanted=wanted, labels=labels)
    labels, classes = masked(labels, frames.present), frames.logits.shape[-1]
    poison = poison_unless_class(name, labels, classes).max(1)
    loss = chain_nll(frames, labels.clip(0, classes - 1).astype(jnp.int32)) * poison
    exists = None if where is None else frames.present.any(1)
    if impossible == "ignored":
        exists = ~jnp.isinf(loss) & (True if exists is None else exists)
    return reduce(name, loss, exists, weights, reduction)


@compiled()
def crf_marginals(
    logits: Float[ArrayLike, "batch time classes"],
    transition_logits: Float[ArrayLike, "classes classes"],
    *,
    where: Bool[ArrayLike, "#batch #time"] | None = None,
) -> Float[Array, "batch time classes"]:
    """Probability of each label at each frame under :func:`crf`; zeros where there is no frame.

    Example:
        >>> never = jnp.array([[0.0, -jnp.inf], [0.0, 0.0]])
        >>> crf_marginals(jnp.zeros((1, 2, 2)), never)
        Array([[[0.33333334, 0.6666667 ],
                [0.6666667 , 0.33333334]]], dtype=float32)
    """
    return chain_marginals(_frames("crf_marginals", logits, transition_logits, where))


@compiled()
def viterbi(
    logits: Float[ArrayLike, "batch time classes"],
    transition_logits: Float[ArrayLike, "classes classes"],
    *,
    where: Bool[ArrayLike, "#batch #time"] | None = None,
) -> tuple[Int[Array, "batch time"], Float[Array, " batch"]]:
    """The most likely labels under :func:`crf`, and their score; -1 where there is no frame.

    Example:
        >>> never = jnp.array([[0.0, -jnp.inf], [0.0, 0.0]])
        >>> labels, score = viterbi(jnp.array([[[1.0, 0.0], [0.0, 3.0]]]), never)
        >>> labels, score
        (Array([[1, 1]], dtype=int32), Array([3.], dtype=float32))

    Reference:
        Viterbi, "Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding
        Algorithm", 1967.
    """
    return best_chain(_frames("viterbi", logits, transition_logits, where))


def _frames(
    name: str,
    logits: Float[ArrayLike, "batch time classes"],
    transition_logits: Float[ArrayLike, "classes classes"],
    where: Bool[ArrayLike, "#batch #time"] | None,
) -> Frames:
    """Check and clean."""
    logits, transitions = jnp.asarray(logits), jnp.asarray(transition_logits)
    require_floating(name, logits=logits, transition_logits=transitions)
    wanted = "of shape (batch, time, classes)"
    require_rank(name, 3, wanted=wanted, exact=True, logits=logits)
    square = (logits.shape[-1],) * 2
    wanted = "one row and one column per class,"
    require_shape(name, square, wanted=wanted, transition_logits=transitions)
    present = selection(name, where, logits.shape[:2])
    logits, transitions = promoted(masked(logits, present), transitions)
    present = jnp.ones(logits.shape[:2], bool) if present is None else present
    return Frames(logits, transitions, present)
