"""Cross-entropies that correct labels which may be wrong, by what is known or by what is predicted.

To bound what a wrong label can cost instead, see :mod:`jaxloss.losses.noise`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_unit_interval,
    require_real,
    require_same_shape,
    require_shape,
)
from jaxloss.core.classes import (
    below,
    label_nll,
    log_partition,
    log_softmax,
    soft_nll,
    softmax,
    times,
)
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import (
    Scalar,
    at_least_float32,
    labeled,
    masked,
    promoted,
    same_shape,
    selection,
)
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def soft_bootstrapped(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    trust: Scalar = 0.95,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy towards a mixture of the label and the model's own probabilities.

    .. math::
        \ell = -\beta \log p_y - (1 - \beta) \sum_c p_c \log p_c, \qquad
        p = \operatorname{softmax}(z)

    The second term is the entropy of the prediction, and carries gradient: the less a label is
    trusted, the more the model is asked to be sure of whatever it says. With ``trust`` 1 it is the
    cross-entropy. The unreduced shape is ``*batch``.

    Args:
        trust: :math:`\beta`, the label's share in the mixture; in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits = jnp.array([[0.0, 0.0], [0.0, 3.0]])
        >>> soft_bootstrapped(logits, jnp.array([0, 0]), trust=0.5, reduction="none")
        Array([0.693147..., 1.619726...], dtype=float32)

    Reference:
        Reed et al., "Training Deep Neural Networks on Noisy Labels with Bootstrapping", 2015.
    """
    name = "soft_bootstrapped"
    logits, labels, poison = labeled(name, logits, labels, where)
    trust = check_unit_interval(name, "trust", jnp.asarray(trust))
    logits = at_least_float32(logits)
    entropy = soft_nll(logits, softmax(logits))
    loss = times(trust, label_nll(logits, labels)) + (1 - trust) * entropy
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def hard_bootstrapped(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    trust: Scalar = 0.8,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy towards a mixture of the label and the class that the model favors.

    .. math::
        \ell = -\beta \log p_y - (1 - \beta) \log \max_c p_c, \qquad
        p = \operatorname{softmax}(z)

    Of classes that tie for the favor, the first has it. With ``trust`` 1 it is the cross-entropy.
    The unreduced shape is ``*batch``.

    Args:
        trust: :math:`\beta`, the label's share in the mixture; in [0, 1].
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> logits = jnp.array([[0.0, 0.0], [0.0, 3.0]])
        >>> hard_bootstrapped(logits, jnp.array([0, 0]), trust=0.5, reduction="none")
        Array([0.693147..., 1.548587...], dtype=float32)

    Reference:
        Reed et al., "Training Deep Neural Networks on Noisy Labels with Bootstrapping", 2015.
    """
    name = "hard_bootstrapped"
    logits, labels, poison = labeled(name, logits, labels, where)
    trust = check_unit_interval(name, "trust", jnp.asarray(trust))
    favored = label_nll(logits, logits.argmax(-1).astype(jnp.int32))
    loss = times(trust, label_nll(logits, labels)) + (1 - trust) * favored
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def forward_corrected(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    transitions: Real[ArrayLike, "classes classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of labels that have been mistaken for one another at known rates.

    .. math::
        \ell = -\log \sum_c p_c T_{cy}, \qquad p = \operatorname{softmax}(z)

    What the logits learn are the true classes, to which the mistakes are then applied. With the
    identity matrix it is the cross-entropy. The unreduced shape is ``*batch``.

    Args:
        transitions: :math:`T`, in row :math:`c` and column :math:`y` the probability that a true
            class :math:`c` is labelled :math:`y`; rows sum to 1. It carries gradient, but an
            entry that is exactly 0 does not.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> transitions = jnp.array([[0.9, 0.1], [0.2, 0.8]])
        >>> jnp.exp(-forward_corrected(jnp.array([[100.0, 0.0]]), jnp.array([1]), transitions))
        Array(0.0999..., dtype=float32)

    Reference:
        Patrini et al., "Making Deep Neural Networks Robust to Label Noise: A Loss Correction
        Approach", 2017.
    """
    name = "forward_corrected"
    scores, labels, poison = labeled(name, logits, labels, where)
    square = (scores.shape[-1],) * 2
    require_real(name, transitions=transitions)
    require_shape(name, square, wanted="one row and one column per class,", transitions=transitions)
    scores, rates = promoted(scores, transitions)
    rates = check_unit_interval(name, "transitions", rates).T[labels]
    scores = _from_top(scores)
    # The odds of any other label to this one: exact also where this one is all but certain.
    odds = jnp.stack([_log_total(scores, rates), _log_total(scores, 1 - rates)], -1)
    loss = label_nll(odds, jnp.zeros_like(labels))
    return reduce(name, loss * poison, where, weights, reduction)


def _from_top(scores: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Logits with a maximum of 0, which is where their sum keeps its digits."""
    top = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    finite = jnp.isfinite(top)
    return jnp.where(finite, scores - jnp.where(finite, top, 0), -below(top, scores))


def _log_total(
    scores: Float[Array, "*batch classes"], rates: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    r""":math:`\log \sum_c r_c e^{z_c}`, over the rates that are not 0."""
    possible = rates > 0
    return log_partition(
        jnp.where(possible, scores + jnp.log(jnp.where(possible, rates, 1)), -jnp.inf)
    )


@compiled("reduction")
def early_learning(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    running_probabilities: Real[ArrayLike, "*batch classes"],
    *,
    penalty: Scalar = 3.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy, and a reward for what was predicted before wrong labels were memorized.

    .. math::
        \ell = -\log p_y + \lambda \log \Bigl( 1 - \sum_c p_c t_c \Bigr),
        \qquad p = \operatorname{softmax}(z)

    The truth is learnt early, mistakes late: where the two disagree, the second term outweighs the
    first. Its logarithm may be negative. Keep :math:`t` for each example of the data, and update it
    by :func:`update_running_probabilities`. With ``penalty`` 0 it is the cross-entropy. The
    unreduced shape is ``*batch``.

    Args:
        running_probabilities: :math:`t`, the mean of what was predicted so far; rows of zeros at
            first.
        penalty: :math:`\lambda`, how much that counts.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> early_learning(jnp.zeros(2), jnp.array(0), jnp.array([0.0, 1.0]), penalty=1.0)
        Array(0., dtype=float32)

    Reference:
        Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels", 2020.
    """
    name = "early_learning"
    require_real(name, running_probabilities=running_probabilities)
    require_same_shape(name, logits=logits, running_probabilities=running_probabilities)
    score, labels, poison = labeled(name, logits, labels, where)
    score, running = promoted(score, running_probabilities)
    running = masked(running, selection(name, where, labels.shape))
    running = check_unit_interval(name, "running_probabilities", running)
    same = (softmax(score) * running).sum(-1)
    near = same < 0.5
    # Where almost all is the same, from what is not: that may be the smallest of numbers.
    apart = jnp.where(near[..., None], 0, log_softmax(score) + jnp.log1p(-running))
    log_apart = jax.nn.logsumexp(apart, -1)
    term = jnp.where(near, jnp.log1p(-jnp.where(near, same, 0)), log_apart)
    return reduce(
        name, (label_nll(score, labels) + penalty * term) * poison, where, weights, reduction
    )


def update_running_probabilities(
    running_probabilities: Real[ArrayLike, "*batch classes"],
    logits: Float[ArrayLike, "*batch classes"],
    *,
    decay: Scalar = 0.7,
) -> Float[Array, "*batch classes"]:
    """The running mean after some more predictions, with which they are not differentiated.

    Args:
        decay: how much of the mean so far is kept, in [0, 1].

    Example:
        >>> update_running_probabilities(jnp.zeros(2), jnp.zeros(2), decay=0.5)
        Array([0.25, 0.25], dtype=float32)
    """
    name = "update_running_probabilities"
    running, score = same_shape(name, running_probabilities=running_probabilities, logits=logits)
    held = jax.lax.stop_gradient((running, softmax(score)))
    return decay * held[0] + (1 - decay) * held[1]
