r"""Distillation where student and teacher are not compared class by class over all classes.

Only the likeliest classes of the teacher were kept; the true class shall count apart; the two have
different vocabularies; or there are two scores in place of classes. See
:mod:`jaxloss.losses.distillation` for all else, and for what the temperature does.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import (
    check_positive,
    poison_unless_class,
    require_floating,
    require_integer,
    require_rank,
    require_same_shape,
    require_shape,
)
from jaxloss.core.classes import is_label, log_partition, pick, softmax, times
from jaxloss.core.compiling import compiled
from jaxloss.core.distributions import forward_kl, relative, softmax_pair
from jaxloss.core.exponentials import complement, difference
from jaxloss.core.inputs import (
    Scalar,
    elements,
    labeled,
    masked,
    modulus,
    promoted,
    selection,
)
from jaxloss.core.reducing import Reduction, reduce


@compiled("reduction")
def top_k_kl(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_log_probabilities: Float[ArrayLike, "*batch kept"],
    labels: Int[ArrayLike, "*batch kept"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Divergence from a teacher of whom only the likeliest classes are known.

    .. math::
        \ell = \sum_{c \in K} t_c \log \frac{t_c}{s_c}
             + t_R \log \frac{t_R}{s_R}, \qquad
        t_R = 1 - \sum_{c \in K} t_c, \quad s_R = \sum_{c \notin K} s_c

    All the others are one class more. At most the divergence over all classes, and equal to it
    where the teacher's tail is shaped like the student's. To distill only how the kept classes
    relate, give their logits alone to :func:`jaxloss.losses.distillation.kl`. The unreduced shape
    is ``*batch``.

    Args:
        teacher_log_probabilities: :math:`\log t`, of the classes that were kept.
        labels: which classes these are, no two of them the same. Both together are what
            ``jax.lax.top_k(jax.nn.log_softmax(teacher_logits), k)`` returns.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label outside [0, C)
            gives NaN, unless its ``where`` is false.

    Example:
        >>> teacher = jnp.log(jnp.array([[0.75, 0.125, 0.125]]))
        >>> kept, labels = jax.lax.top_k(teacher, 1)
        >>> top_k_kl(jnp.zeros((1, 3)), kept, labels)  # 3/4 log(9/4) + 1/4 log(3/8)
        Array(0.3629..., dtype=float32)

    Reference:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    name = "top_k_kl"
    chosen = jnp.asarray(labels)
    require_floating(name, student_logits=student_logits)
    require_floating(name, teacher_log_probabilities=teacher_log_probabilities)
    require_integer(name, labels=chosen)
    require_rank(name, 1, wanted="rows of classes", student_logits=student_logits)
    student, teacher = promoted(student_logits, teacher_log_probabilities)
    wanted = "the kept classes of each row of student_logits, of shape"
    kept = (*student.shape[:-1], *chosen.shape[-1:])
    require_shape(name, kept, wanted=wanted, teacher_log_probabilities=teacher, labels=chosen)
    selected = selection(name, where, student.shape[:-1])
    student, teacher, chosen = (masked(x, selected) for x in (student, teacher, chosen))
    classes = student.shape[-1]
    poison = poison_unless_class(name, chosen, classes).prod(-1)
    chosen = chosen.clip(0, classes - 1).astype(jnp.int32)

    whole = log_partition(student)
    head = jnp.take_along_axis(student, chosen, -1) - whole[..., None]
    loss = relative(teacher, head, difference(head, teacher)).sum(-1)
    if kept[-1] < classes:
        others = jnp.put_along_axis(student, chosen, -jnp.inf, axis=-1, inplace=False)
        tail, rest = log_partition(others) - whole, _log_rest(teacher)
        loss += relative(rest, tail, difference(tail, rest))
    return reduce(name, loss * poison, where, weights, reduction)


@compiled("reduction")
def decoupled_kl(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    labels: Int[ArrayLike, "*batch"],
    *,
    label_weight: Scalar = 1.0,
    others_weight: Scalar = 8.0,
    temperature: Scalar = 4.0,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Divergence of the probability of the label, and that among the other classes, apart.

    .. math::
        \ell = \tau^2 \Big( \alpha \operatorname{KL}(b^t \,\|\, b^s)
             + \beta \operatorname{KL}(\hat t \,\|\, \hat s) \Big), \qquad
        b^p = (p_y, 1 - p_y), \quad \hat p = \left( \frac{p_c}{1 - p_y} \right)_{c \ne y}

    With :math:`\alpha = 1` and :math:`\beta = 1 - t_y` it is the plain divergence,
    :func:`jaxloss.losses.distillation.kl`: there, what a sure teacher knows of the other classes
    hardly counts. The unreduced shape is ``*batch``.

    Args:
        label_weight: :math:`\alpha`, of how sure the label is.
        others_weight: :math:`\beta`, of how the other classes relate.
        temperature: :math:`\tau`, positive, at which :math:`s` and :math:`t` are taken.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`. A label whose
            ``where`` is false may hold any integer; any other label outside [0, C) gives NaN.

    Example:
        >>> student = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
        >>> teacher = jnp.log(jnp.array([[0.5, 0.375, 0.125]]))
        >>> decoupled_kl(student, teacher, jnp.array([0]), temperature=1.0)  # 8 KL(3/4, 1/4)
        Array(1.0464..., dtype=float32)

    Reference:
        Zhao et al., "Decoupled Knowledge Distillation", 2022.
    """
    name = "decoupled_kl"
    require_floating(name, student_logits=student_logits, teacher_logits=teacher_logits)
    require_same_shape(name, student_logits=student_logits, teacher_logits=teacher_logits)
    student, chosen, poison = labeled(name, student_logits, labels, where)
    teacher = masked(jnp.asarray(teacher_logits), selection(name, where, chosen.shape))
    student, teacher = promoted(student, teacher)
    tau = check_positive(name, "temperature", temperature).astype(student.dtype)

    def apart(logits: Float[Array, "*batch classes"]) -> tuple[Array, Array]:
        """Logits of the label against the others, and of these alone."""
        others = jnp.where(is_label(logits, chosen), -jnp.inf, logits / tau)
        label = pick(logits, chosen) / tau
        return jnp.stack([label, log_partition(others)], -1), others

    (label, others), (label_truth, others_truth) = apart(student), apart(teacher)
    loss = times(label_weight, forward_kl(softmax_pair(label, label_truth)))
    loss += times(others_weight, forward_kl(softmax_pair(others, others_truth)))
    return reduce(name, tau * tau * loss * poison, where, weights, reduction)


@compiled("reduction")
def universal(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch teacher_classes"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Distance between the sorted probabilities of two models with different classes.

    .. math::
        \ell = \sum_i \left| s_{(i)} - t_{(i)} \right|, \qquad
        s_{(1)} \ge s_{(2)} \ge \dots, \quad t_{(1)} \ge t_{(2)} \ge \dots

    The cost of moving one distribution onto the other if all classes are equally far from each
    other and may be renamed: the student learns how sure to be, and of how many. The shorter row is
    filled up with zeros. Between 0 and 2. The unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.zeros((1, 2)), jnp.zeros((1, 4))
        >>> universal(student, teacher)  # (1/2, 1/2, 0, 0) and four times 1/4
        Array(1., dtype=float32)

    Reference:
        Boizard et al., "Towards Cross-Tokenizer Distillation: the Universal Logit Distillation Loss
        for LLMs", 2024.
    """
    name = "universal"
    require_floating(name, student_logits=student_logits, teacher_logits=teacher_logits)
    require_rank(name, 1, wanted="rows of classes", student_logits=student_logits)
    student, teacher = promoted(student_logits, teacher_logits)
    batch = student.shape[:-1]
    wanted = "rows of classes, one per row of student_logits, of shape"
    require_shape(name, (*batch, *teacher.shape[-1:]), wanted=wanted, teacher_logits=teacher)
    selected = selection(name, where, batch)
    size = max(student.shape[-1], teacher.shape[-1])

    def descending(logits: Float[Array, "*batch some"]) -> Float[Array, "*batch most"]:
        p = -jnp.sort(-softmax(masked(logits, selected)), axis=-1)
        return jnp.pad(p, [(0, 0)] * len(batch) + [(0, size - p.shape[-1])])

    loss = modulus(descending(student) - descending(teacher)).sum(-1)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def margin_squared(
    student_positives: Real[ArrayLike, "*shape"],
    student_negatives: Real[ArrayLike, "*shape"],
    teacher_positives: Real[ArrayLike, "*shape"],
    teacher_negatives: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error of by how much a student scores a relevant item over one that is not.

    .. math::
        \ell = \big( (s^+ - s^-) - (t^+ - t^-) \big)^2

    Known as margin MSE. The scores of a retriever need not be as large as those of its teacher,
    nor even on one scale for all queries; only their differences count. The unreduced shape is that
    of ``student_positives``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> query = [jnp.array([x]) for x in (5.0, 3.0, 0.9, 0.4)]
        >>> margin_squared(*query)
        Array(2.25, dtype=float32)

    Reference:
        Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture
        Knowledge Distillation", 2020.
    """
    name = "margin_squared"
    positives, negatives, better, worse = elements(
        name,
        where,
        student_positives=student_positives,
        student_negatives=student_negatives,
        teacher_positives=teacher_positives,
        teacher_negatives=teacher_negatives,
    )
    error = (positives - negatives) - (better - worse)
    return reduce(name, error * error, where, weights, reduction)


def _log_rest(log_p: Float[Array, "*batch kept"]) -> Float[Array, "*batch"]:
    """The logarithm of what some probabilities lack of one; -inf if it is lost in rounding.

    The first is the largest, as a rule. What it lacks is known to all digits.
    """
    lacks = complement(-log_p[..., 0])
    rest = lacks - jnp.exp(log_p[..., 1:]).sum(-1)
    known = rest > 4 * float(jnp.finfo(rest.dtype).eps) * lacks
    return jnp.where(known, jnp.log(jnp.where(known, rest, 1)), -jnp.inf)
