"""Cross-entropies over classes that are found in two steps: first the cluster, then the class.

With a vocabulary in the order of frequency, the tail clusters may have few features each: their
logits come from ``features @ projection @ kernel`` with a narrow ``projection``.
"""

import itertools

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    poison_unless_class,
    require_floating,
    require_integer,
    require_rank,
    require_shape,
)
from jaxloss.core.classes import label_nll, log_softmax
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import at_least_float32, masked, selection
from jaxloss.core.reducing import Reduction, reduce


@compiled("cutoffs", "reduction")
def adaptive_softmax(
    logits: Float[ArrayLike, "*batch nodes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    cutoffs: tuple[int, ...] = (),
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of a label that is in a short list, or else in a cluster.

    .. math::
        \ell = \begin{cases}
            -\log p_y & y < c_1 \\
            -\log p_k - \log p_{y | k} & c_k \le y < c_{k+1}
        \end{cases}

    The first softmax is over the classes of the short list and one entry for each cluster, the
    second over the classes of the label's cluster. Without cutoffs it is the softmax
    cross-entropy. The unreduced shape is ``*batch``.

    Args:
        logits: first those of the short list, then one for each cluster, then those of the classes
            in the first cluster, in the second, and so on: as many as there are classes and
            clusters.
        cutoffs: :math:`c_1 < c_2 < \dots`, the first class of each cluster; classes in the order of
            frequency.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other out of range gives NaN.

    Example:
        Three classes, of which the last two are in a cluster:

        >>> jnp.exp(-adaptive_softmax(jnp.zeros((1, 4)), jnp.array([1]), cutoffs=(1,)))
        Array(0.25, dtype=float32)

    Reference:
        Grave et al., "Efficient softmax approximation for GPUs", 2017.
    """
    name = "adaptive_softmax"
    require_integer(name, labels=labels)
    bounds, head, tails = _parts(name, logits, cutoffs)
    truth = jnp.asarray(labels)
    require_shape(name, head.shape[:-1], wanted="one class id per row of logits,", labels=truth)
    selected = selection(name, where, truth.shape)
    truth, head = masked(truth, selected), masked(head, selected)
    poison = poison_unless_class(name, truth, bounds[-1])
    truth = truth.clip(0, bounds[-1] - 1).astype(jnp.int32)
    cluster = sum((truth >= start).astype(jnp.int32) for start in bounds[:-1])
    loss = label_nll(head, jnp.where(truth < bounds[0], truth, bounds[0] - 1 + cluster))
    for k, (start, end) in enumerate(itertools.pairwise(bounds)):
        inside = (truth >= start) & (truth < end)
        nll = label_nll(masked(tails[k], inside), jnp.where(inside, truth - start, 0))
        loss += jnp.where(inside, nll, 0)
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("cutoffs")
def adaptive_log_probabilities(
    logits: Float[ArrayLike, "*batch nodes"], *, cutoffs: tuple[int, ...] = ()
) -> Float[Array, "*batch classes"]:
    """Log-probabilities of all classes, from the logits that :func:`adaptive_softmax` takes.

    Example:
        >>> jnp.exp(adaptive_log_probabilities(jnp.zeros(4), cutoffs=(1,)))
        Array([0.5 , 0.25, 0.25], dtype=float32)
    """
    bounds, head, tails = _parts("adaptive_log_probabilities", logits, cutoffs)
    first = log_softmax(at_least_float32(head))
    short, clusters = first[..., : bounds[0]], first[..., bounds[0] :]
    rest = [clusters[..., k, None] + log_softmax(at_least_float32(x)) for k, x in enumerate(tails)]
    return jnp.concatenate([short, *rest], -1)


def _parts(
    name: str, logits: Float[ArrayLike, "*batch nodes"], cutoffs: tuple[int, ...]
) -> tuple[tuple[int, ...], Array, list[Array]]:
    """Where short list and clusters end, and the logits of the first softmax and of the others."""
    require_floating(name, logits=logits)
    require_rank(name, 1, wanted="one row of logits per label", logits=logits)
    score = jnp.asarray(logits)
    bounds = (*cutoffs, score.shape[-1] - len(cutoffs))
    if any(low >= high for low, high in itertools.pairwise((0, *bounds))):
        raise ValueError(
            f"{name}: cutoffs must increase from 1 to {bounds[-1] - 1}, got {tuple(cutoffs)}"
        )
    ends = [end + len(cutoffs) for end in bounds]
    head, *tails = jnp.split(score, ends[:-1], axis=-1)
    return bounds, head, tails
