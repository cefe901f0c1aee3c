"""What an output layer says of each token, without the logits ever existing all at once."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxloss.core.checks import require_option, require_rank
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, selection
from jaxloss.core.reducing import mean_of_existing
from jaxloss.kernels import streamed
from jaxloss.kernels.plans import Plan
from jaxloss.kernels.reducing import head, planned, reduced
from jaxloss.kernels.statistics import Statistics
from jaxloss.kernels.streamed import Measure


@compiled("classes", "plan", "memory")
def linear_log_probabilities(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, "*batch"]:
    r"""Log-probability of each label under an output layer.

    .. math::
        \log p_y = z_y - \log \sum_c e^{z_c}, \qquad
        z = \frac{s}{\tau} \tanh \frac{h W + b}{s}

    What losses on whole sequences are made of, such as those of preferences and of policies. Its
    gradient makes the logits a second time, some columns at a time.

    Args:
        bias, softcap, temperature, classes, plan, memory: as in
            :func:`jaxloss.kernels.linear_softmax_cross_entropy`.
        where: which tokens exist. Of the others the result is 0; their labels and hidden states may
            be anything.

    Example:
        >>> hidden, kernel = jnp.ones((3, 8)), jnp.zeros((8, 1000))
        >>> linear_log_probabilities(hidden, kernel, jnp.array([1, 2, 3]))  # -log 1000
        Array([-6.907755..., -6.907755..., -6.907755...], dtype=float32)
    """
    name = "linear_log_probabilities"
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, temperature=temperature,
                 classes=classes, plan=plan, memory=memory, where=where)  # fmt: skip
    return reduced(layer, log_probability, ("nll",), {}, None, "none")


@compiled("average", "classes", "plan", "memory")
def linear_sequence_log_probabilities(
    hidden: Float[ArrayLike, "*batch tokens features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch tokens"],
    *,
    average: bool = False,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch #tokens"] | None = None,
) -> Float[Array, "*batch"]:
    r"""Log-probability of each sequence under an output layer: the sum over its tokens.

    .. math::
        \log p = \sum_t \log \operatorname{softmax}(h_t W + b)_{y_t}

    It is :func:`jaxloss.losses.language.sequence_log_probabilities` of the logits. Of a reference,
    it may be computed once for all epochs.

    Args:
        average: the mean over the tokens that exist, in place of the sum.
        bias, softcap, temperature, classes, plan, memory: as in
            :func:`jaxloss.kernels.linear_softmax_cross_entropy`.
        where: which tokens exist, as a rule those of the answer and not those of the prompt.

    Example:
        >>> hidden, kernel = jnp.ones((1, 3, 8)), jnp.zeros((8, 2))
        >>> linear_sequence_log_probabilities(hidden, kernel, jnp.array([[0, 1, 1]]))
        Array([-2.0794415], dtype=float32)
    """
    name = "linear_sequence_log_probabilities"
    require_rank(name, 2, wanted="of shape (*batch, tokens, features)", hidden=hidden)
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, temperature=temperature,
                 classes=classes, plan=plan, memory=memory, where=where)  # fmt: skip
    each = reduced(layer, log_probability, ("nll",), {}, None, "none")
    return of_sequences(each, selection(name, where, each.shape), average)


@compiled("classes", "plan", "memory")
def linear_entropy(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    *,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, "*batch"]:
    r"""Entropy of what an output layer says of each token.

    .. math::
        H = -\sum_c p_c \log p_c, \qquad p = \operatorname{softmax}(z)

    From 0 to :math:`\log C`; to be raised where a policy should go on exploring.

    Args:
        bias, softcap, temperature, classes, plan, memory: as in
            :func:`jaxloss.kernels.linear_softmax_cross_entropy`.
        where: which tokens exist. Of the others the result is 0, and their hidden states may be
            anything.

    Example:
        >>> linear_entropy(jnp.ones((1, 8)), jnp.zeros((8, 1000)))  # log 1000
        Array([6.907755...], dtype=float32)
    """
    layer = head("linear_entropy", hidden, kernel, None, bias=bias, softcap=softcap,
                 temperature=temperature, classes=classes, plan=plan, memory=memory,
                 where=where)  # fmt: skip
    return reduced(layer, _entropy, ("entropy",), {}, None, "none")


@compiled("classes", "plan", "memory")
def linear_predictions(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    *,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
) -> Int[Array, "*batch"]:
    """Most probable class of each token; the first of several.

    The accuracy is ``(linear_predictions(hidden, kernel) == labels).mean()``.

    Args:
        bias, classes, plan, memory: as in :func:`jaxloss.kernels.linear_softmax_cross_entropy`.

    Example:
        >>> linear_predictions(jnp.ones((1, 2)), jnp.array([[0.0, 1.0, 3.0], [0.0, 4.0, 1.0]]))
        Array([1], dtype=int32)
    """
    found = linear_statistics(
        hidden, kernel, wanted=("prediction",), bias=bias, classes=classes, plan=plan, memory=memory
    )
    return jnp.asarray(found.prediction)


@compiled("wanted", "classes", "plan", "memory")
def linear_statistics(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch"] | None = None,
    *,
    wanted: tuple[str, ...] = ("log_sum_exp",),
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    softcap: Scalar | None = None,
    temperature: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Statistics:
    r"""Several statistics of the logits of each token at once.

    What the fused losses are made of, for one of your own: ``wanted=("nll", "entropy")`` is all
    that a policy gradient with an entropy bonus has to know. The logits are made once, and for all
    gradients together once more. All but the prediction are differentiable.

    Args:
        labels: for ``"nll"`` and ``"rivals"``.
        wanted: names of the fields of :class:`~jaxloss.kernels.statistics.Statistics`; the others
            are None.
        bias, softcap, temperature, classes, plan, memory: as in
            :func:`jaxloss.kernels.linear_softmax_cross_entropy`.
        where: which tokens exist. Of the others the labels and hidden states may be anything; the
            hidden state counts as zero.

    Example:
        >>> hidden, kernel = jnp.ones((1, 8)), jnp.zeros((8, 1000))
        >>> found = linear_statistics(
        ...     hidden, kernel, jnp.array([7]), wanted=("nll", "entropy")
        ... )
        >>> found.nll, found.entropy
        (Array([6.907755...], dtype=float32), Array([6.907755...], dtype=float32))
    """
    name = "linear_statistics"
    for statistic in wanted:
        require_option(name, "wanted", statistic, Statistics._fields)
        if statistic in ("nll", "rivals") and labels is None:
            raise ValueError(f"{name}: labels must be given for {statistic!r}, got None")
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, temperature=temperature,
                 classes=classes, plan=plan, memory=memory, where=where)  # fmt: skip
    operands = layer.operands._replace(weights=layer.poison)
    chosen = planned(layer, per_token=True)
    found = streamed.statistics(Measure(wanted, layer.classes, chosen.axis), chosen, operands)
    return found._replace(
        nll=None if found.nll is None else found.nll * layer.poison,
        rivals=None if found.rivals is None else found.rivals * layer.poison,
    )


def log_probability(found: Any, options: Any) -> Float[Array, "*rows"]:
    """That of the label, from the statistics of rows."""
    return -found.nll


def of_sequences(
    log_p: Float[Array, "*batch tokens"], exists: Bool[Array, "*batch tokens"] | None, average: bool
) -> Float[Array, "*batch"]:
    """The sum over the tokens that exist, or their mean; 0 for none."""
    if average:
        return mean_of_existing(log_p, exists)[0]
    return (log_p if exists is None else jnp.where(exists, log_p, 0)).sum(-1)


def _entropy(found: Any, options: Any) -> Float[Array, "*rows"]:
    return found.entropy
