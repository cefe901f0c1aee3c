r"""Losses that let a student learn the distribution that a teacher gives to classes.

Both are given as logits, and all losses are sums of non-negative terms in the logarithm of the
teacher's over the student's probability, taken from the difference of their logits: student and
teacher may come as near as they will. The teacher is not held constant: ``jax.grad`` asks for the
gradient in the first argument only, and where the two share parameters, ``jax.lax.stop_gradient``
is at hand.

The temperature :math:`\tau` divides the logits of both. Where it is an option, the loss is
multiplied by :math:`\tau^2`, so that its gradient neither fades nor grows with it; for the others,
divide both logits. The mixture of such a loss with the cross-entropy of true labels is the
caller's: ``0.9 * kl(...) + 0.1 * softmax_cross_entropy(...)``.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core import distributions
from jaxloss.core.checks import check_unit_interval
from jaxloss.core.classes import times
from jaxloss.core.compiling import compiled
from jaxloss.core.distributions import Pair, distances, forward_kl, softened, to_mixture
from jaxloss.core.inputs import Scalar, rows
from jaxloss.core.ratios import share
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import normalized


@compiled("reduction")
def kl(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    *,
    temperature: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence of the student from the teacher: knowledge distillation.

    .. math::
        \ell = \tau^2 \sum_c t_c \log \frac{t_c}{s_c}, \qquad
        s, t = \operatorname{softmax}(z / \tau)

    The student shall cover all that the teacher thinks possible. A high temperature shows it how
    the teacher ranks the unlikely classes; in the limit, the loss is half the squared distance of
    the logits, less their mean, over :math:`C`. The unreduced shape is ``*batch``.

    Args:
        temperature: :math:`\tau`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.zeros((1, 2)), jnp.log(jnp.array([[0.25, 0.75]]))
        >>> kl(student, teacher)
        Array(0.1308..., dtype=float32)

    Reference:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    name = "kl"
    student, teacher = rows(
        name, where, student_logits=student_logits, teacher_logits=teacher_logits
    )
    loss = softened(name, forward_kl, student, teacher, temperature)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def reverse_kl(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    *,
    temperature: Scalar = 1.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence of the teacher from the student.

    .. math::
        \ell = \tau^2 \sum_c s_c \log \frac{s_c}{t_c}, \qquad
        s, t = \operatorname{softmax}(z / \tau)

    A student that is too small to cover all that the teacher thinks possible shall at least say
    nothing that the teacher would not: what language models want of what they sample. The
    unreduced shape is ``*batch``.

    Args:
        temperature: :math:`\tau`, positive.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.zeros((1, 2)), jnp.log(jnp.array([[0.25, 0.75]]))
        >>> reverse_kl(student, teacher)  # log(4/3) / 2
        Array(0.1438..., dtype=float32)

    Reference:
        Gu et al., "MiniLLM: Knowledge Distillation of Large Language Models", 2024.
    """
    name = "reverse_kl"
    student, teacher = rows(
        name, where, student_logits=student_logits, teacher_logits=teacher_logits
    )
    loss = softened(name, distributions.reverse_kl, student, teacher, temperature)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def standardized_kl(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    *,
    temperature: Scalar = 2.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Knowledge distillation after shifting and scaling both logits to mean 0 and variance 1.

    .. math::
        \ell = \tau^2 \sum_c t_c \log \frac{t_c}{s_c}, \qquad
        s, t = \operatorname{softmax}\left( \frac{z - \bar z}{\tau \sigma_z} \right)

    The student learns how the teacher's logits relate, and not how large they are, which it may be
    too small to match. Logits that are all equal stay so. The unreduced shape is ``*batch``.

    Args:
        temperature: :math:`\tau`, positive; of standardized logits.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[10.0, 20.0, 30.0]])
        >>> standardized_kl(student, teacher)
        Array(0., dtype=float32)

    Reference:
        Sun et al., "Logit Standardization in Knowledge Distillation", 2024.
    """
    name = "standardized_kl"
    student, teacher = rows(
        name, where, student_logits=student_logits, teacher_logits=teacher_logits
    )
    student, teacher = _standardized(student), _standardized(teacher)
    loss = softened(name, forward_kl, student, teacher, temperature)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def jensen_shannon(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    *,
    teacher_share: Scalar = 0.5,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Generalized Jensen-Shannon divergence: how far both are, in the mean, from their mixture.

    .. math::
        \ell = \pi \operatorname{KL}(t \,\|\, m) + (1 - \pi) \operatorname{KL}(s \,\|\, m),
        \qquad m = \pi t + (1 - \pi) s

    Bounded, and between the two directions of the Kullback-Leibler divergence: divided by
    :math:`\pi` it becomes :func:`kl` for small :math:`\pi`, divided by :math:`1 - \pi` the
    :func:`reverse_kl` as :math:`\pi` nears 1. The unreduced shape is ``*batch``.

    Args:
        teacher_share: :math:`\pi`, the share of the teacher in the mixture; between 0 and 1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.log(jnp.array([[[0.5, 0.5]], [[0.8, 0.2]]]))
        >>> jensen_shannon(student, teacher)
        Array(0.0506..., dtype=float32)

    Reference:
        Agarwal et al., "On-Policy Distillation of Language Models: Learning from Self-Generated
        Mistakes", 2024.
    """
    name = "jensen_shannon"
    pair = _pair(name, student_logits, teacher_logits, where)
    teacher = check_unit_interval(name, "teacher_share", jnp.asarray(teacher_share))
    from_teacher, from_student = to_mixture(pair, teacher)
    loss = teacher * from_teacher + (1 - teacher) * from_student
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def skew_kl(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    *,
    teacher_share: Scalar = 0.1,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Divergence of the teacher's distribution from the student's with a little of it mixed in.

    .. math::
        \ell = \operatorname{KL}(t \,\|\, m), \qquad m = \pi t + (1 - \pi) s

    At most :math:`-\log \pi`, with a gradient that is bounded too, where that of :func:`kl` may be
    dominated by a class that the student excludes. The unreduced shape is ``*batch``.

    Args:
        teacher_share: :math:`\pi`, the share of the teacher in the mixture; between 0, which gives
            :func:`kl`, and 1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.array([[-jnp.inf, 0.0]]), jnp.array([[0.0, -jnp.inf]])
        >>> skew_kl(student, teacher)  # log(10)
        Array(2.302585, dtype=float32)

    Reference:
        Ko et al., "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024.
    """
    name = "skew_kl"
    pair = _pair(name, student_logits, teacher_logits, where)
    teacher = check_unit_interval(name, "teacher_share", jnp.asarray(teacher_share))
    loss, _ = to_mixture(pair, teacher)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def skew_reverse_kl(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    *,
    teacher_share: Scalar = 0.9,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Divergence of the student's distribution from the teacher's with a little of it mixed in.

    .. math::
        \ell = \operatorname{KL}(s \,\|\, m), \qquad m = \pi t + (1 - \pi) s

    At most :math:`-\log(1 - \pi)`, also for a student that does what the teacher excludes. The
    unreduced shape is ``*batch``.

    Args:
        teacher_share: :math:`\pi`, the share of the teacher in the mixture; between 0 and 1, which
            gives :func:`reverse_kl`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.array([[-jnp.inf, 0.0]]), jnp.array([[0.0, -jnp.inf]])
        >>> skew_reverse_kl(student, teacher)  # log(10)
        Array(2.302585, dtype=float32)

    Reference:
        Ko et al., "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024.
    """
    name = "skew_reverse_kl"
    pair = _pair(name, student_logits, teacher_logits, where)
    teacher = check_unit_interval(name, "teacher_share", jnp.asarray(teacher_share))
    _, loss = to_mixture(pair, teacher)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def adaptive_kl(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    *,
    head_mass: Scalar = 0.5,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Both Kullback-Leibler divergences, each as far as the student is wrong where it helps.

    .. math::
        \ell = \frac{g_H \operatorname{KL}(t \,\|\, s) + g_R \operatorname{KL}(s \,\|\, t)}
                   {g_H + g_R}, \qquad
        g_H = \sum_{c \in H} |t_c - s_c|, \quad g_R = \sum_{c \notin H} |t_c - s_c|

    The head :math:`H` is the fewest classes that together have a probability of :math:`\mu` under
    the teacher. Early on the forward divergence fits the head, the reverse one the tail. Both
    :math:`g` are held constant. The unreduced shape is ``*batch``.

    Args:
        head_mass: :math:`\mu`, between 0 and 1.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.log(jnp.array([[[0.5, 0.5]], [[0.8, 0.2]]]))
        >>> adaptive_kl(student, teacher)  # log(5/4) / 2 + KL(t || s) / 2
        Array(0.2079441..., dtype=float32)

    Reference:
        Wu et al., "Rethinking Kullback-Leibler Divergence in Knowledge Distillation for Large
        Language Models", 2025.
    """
    name = "adaptive_kl"
    pair = _pair(name, student_logits, teacher_logits, where)
    mass = check_unit_interval(name, "head_mass", jnp.asarray(head_mass))
    held = jax.tree.map(jax.lax.stop_gradient, pair)
    order = jnp.argsort(-held.log_t, -1)
    likely = jnp.exp(jnp.take_along_axis(held.log_t, order, -1))
    gap = jnp.take_along_axis(distances(held), order, -1)
    in_head = jnp.cumsum(likely, -1) - likely < mass
    head, tail = (jnp.where(inside, gap, 0).sum(-1) for inside in (in_head, ~in_head))
    forward = share(head, tail)
    loss = times(forward, forward_kl(pair)) + times(1 - forward, distributions.reverse_kl(pair))
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def total_variation(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Largest difference between the probabilities that the two give to any event.

    .. math::
        \ell = \frac12 \sum_c |t_c - s_c|

    Between 0 and 1. How often a student's proposal is rejected in speculative sampling. Its
    gradient does not fade as the two approach, except for classes on which they agree, where it is
    0. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.array([[0.0, -jnp.inf]]), jnp.zeros((1, 2))
        >>> total_variation(student, teacher)
        Array(0.5, dtype=float32)

    Reference:
        Wen et al., "f-Divergence Minimization for Sequence-Level Knowledge Distillation", 2023.
    """
    name = "total_variation"
    loss = distances(_pair(name, student_logits, teacher_logits, where)).sum(-1) / 2
    return reduce(name, loss, where, weights, reduction)


def _pair(
    name: str,
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    where: Bool[ArrayLike, "*#batch"] | None,
) -> Pair:
    """The two softmaxes, checked and masked."""
    logits = rows(name, where, student_logits=student_logits, teacher_logits=teacher_logits)
    return distributions.softmax_pair(*logits)


def _standardized(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Each row at mean 0 and variance 1, among what is finite."""
    finite = jnp.isfinite(logits)
    kept = jnp.where(finite, logits, 0)
    count = finite.sum(-1, keepdims=True).astype(kept.dtype)
    count = jnp.where(count == 0, 1, count)
    spread = jnp.where(finite, kept - kept.sum(-1, keepdims=True) / count, 0)
    return jnp.where(finite, normalized(spread) * jnp.sqrt(count), logits)
