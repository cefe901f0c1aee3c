"""Losses that make two views of a thing choose the same prototypes, classes that nobody named.

What keeps all of them from choosing the same one is that assignments must use all prototypes, or
that those a teacher prefers on the whole count less. It is not learned: no gradient flows there.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.batches import matched, require_batch
from jaxloss.core.checks import (
    check_positive,
    check_unit_interval,
    require_floating,
    require_shape,
)
from jaxloss.core.classes import soft_nll, softmax
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, at_least_float32, masked, rows, selection
from jaxloss.core.reducing import Reduction, broadcast_where, reduce


@compiled("iterations", "reduction")
def swav(
    logits: Real[ArrayLike, "batch classes"],
    other_logits: Real[ArrayLike, "batch classes"],
    *,
    temperature: Scalar = 0.1,
    sinkhorn_temperature: Scalar = 0.05,
    iterations: int = 3,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy of predicting, from each view, the prototypes that the other was assigned to.

    With :math:`q` the assignments of :func:`sinkhorn`, which are held constant:

    .. math::
        \ell_i = -\frac12 \sum_c \big[ q'_{ic} \log \operatorname{softmax}(z_i / \tau)_c
                                     + q_{ic} \log \operatorname{softmax}(z'_i / \tau)_c \big]

    For more than two crops, :func:`sinkhorn` for the large ones and
    :func:`jaxloss.losses.classification.soft_cross_entropy` for each pair. The unreduced shape is
    ``batch``.

    Args:
        logits, other_logits: cosines of the two views' embeddings with the prototypes.
        temperature: :math:`\tau`, positive.
        sinkhorn_temperature, iterations: of :func:`sinkhorn`.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; examples that do not
            exist are not assigned.

    Example:
        >>> logits = jnp.eye(3)
        >>> swav(logits, logits, temperature=1.0, sinkhorn_temperature=0.01)  # log(1 + 2 / e)
        Array(0.5514447, dtype=float32)

    Reference:
        Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
        2020.
    """
    name = "swav"
    require_floating(name, logits=logits)
    one, other, exists = matched(name, where, logits=logits, other_logits=other_logits)
    temperature = check_positive(name, "temperature", temperature)
    codes, other_codes = (
        sinkhorn(x, temperature=sinkhorn_temperature, iterations=iterations, where=exists)
        for x in (one, other)
    )
    loss = (soft_nll(one / temperature, other_codes) + soft_nll(other / temperature, codes)) / 2
    return reduce(name, loss, where, weights, reduction)


@compiled("iterations")
def sinkhorn(
    logits: Real[ArrayLike, "batch classes"],
    *,
    temperature: Scalar = 0.05,
    iterations: int = 3,
    where: Bool[ArrayLike, " #batch"] | None = None,
) -> Float[Array, "batch classes"]:
    r"""Assignments to prototypes of which each gets about the same share; no gradient flows.

    From :math:`e^{z / \epsilon}`, each iteration scales all columns and then all rows to add up
    to one. A row is thus a distribution over the prototypes, and the more iterations, the more
    evenly the prototypes are used. Rows that do not exist are zero. Under ``shard_map`` each device
    assigns its own rows.

    Args:
        logits: cosines of the embeddings with the prototypes.
        temperature: :math:`\epsilon`, positive; the smaller, the harder the assignment.
        iterations: how often both are scaled.
        where: the rows that exist.

    Example:
        Both rows prefer the first prototype, the second one a little less:

        >>> codes = sinkhorn(jnp.array([[1.0, 0.0], [0.9, 0.0]]), temperature=0.02, iterations=50)
        >>> [[f"{share:.1f}" for share in row] for row in codes]
        [['0.9', '0.1'], ['0.1', '0.9']]

    Reference:
        Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", 2013.
    """
    name = "sinkhorn"
    require_batch(name, logits=logits)
    scores = jax.lax.stop_gradient(at_least_float32(logits))
    exists = selection(name, where, scores.shape[:1])
    scores = masked(scores, exists) / check_positive(name, "temperature", temperature)
    scores = masked(scores, exists, fill=-jnp.inf)
    for _ in range(iterations):
        scores -= _logsumexp(scores, axis=0)
        scores -= _logsumexp(scores, axis=1)
    return jnp.exp(scores)


@compiled("reduction")
def dino(
    student_logits: Real[ArrayLike, "*batch classes"],
    teacher_logits: Real[ArrayLike, "*batch classes"],
    *,
    center: Real[ArrayLike, " classes"] | None = None,
    temperature: Scalar = 0.1,
    teacher_temperature: Scalar = 0.04,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy with a teacher that is sharpened, centered, and held constant.

    .. math::
        \ell = -\sum_c \operatorname{softmax}\Big(\frac{t - b}{\tau_t}\Big)_c
            \log \operatorname{softmax}\Big(\frac{s}{\tau_s}\Big)_c

    Centering keeps one class from reigning, and sharpening the classes from being all alike.
    The student sees all crops and the teacher the large ones; the loss of the paper is the mean
    over all pairs of two different crops. No gradient flows into ``teacher_logits``. The unreduced
    shape is ``*batch``.

    Args:
        center: :math:`b`, a running mean of the teacher's logits, see :func:`updated_center`.
        temperature, teacher_temperature: :math:`\tau_s` and :math:`\tau_t`, positive; the teacher's
            is the lower one.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> student, teacher = jnp.zeros((1, 4)), jnp.array([[1.0, 0.0, 0.0, 0.0]])
        >>> dino(student, teacher)  # log 4
        Array(1.3862944, dtype=float32)

    Reference:
        Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021.
    """
    name = "dino"
    student, teacher = rows(
        name, where, student_logits=student_logits, teacher_logits=teacher_logits
    )
    if center is not None:
        require_shape(name, teacher.shape[-1:], wanted="one per class,", center=center)
        shift = at_least_float32(center).astype(teacher.dtype)
        teacher -= shift.reshape((1,) * (teacher.ndim - 1) + (-1,))
    cold = check_positive(name, "teacher_temperature", teacher_temperature)
    targets = jax.lax.stop_gradient(softmax(teacher / cold))
    loss = soft_nll(student / check_positive(name, "temperature", temperature), targets)
    return reduce(name, loss, where, weights, reduction)


@compiled()
def updated_center(
    center: Real[ArrayLike, " classes"],
    teacher_logits: Real[ArrayLike, "*batch classes"],
    *,
    momentum: Scalar = 0.9,
    where: Bool[ArrayLike, "*#batch"] | None = None,
) -> Float[Array, " classes"]:
    """The center of :func:`dino`, moved towards the mean of the teacher's logits.

    Args:
        momentum: how much of the old center stays; in [0, 1].
        where: the rows that exist. If there are none, the center stays where it is.

    Example:
        >>> updated_center(jnp.zeros(2), jnp.array([[1.0, 2.0], [3.0, 4.0]]), momentum=0.5)
        Array([1. , 1.5], dtype=float32)
    """
    name = "updated_center"
    logits = at_least_float32(teacher_logits)
    require_shape(name, logits.shape[-1:], wanted="one per class,", center=center)
    old = at_least_float32(center).astype(logits.dtype)
    exists = broadcast_where(name, True if where is None else where, logits.shape[:-1])
    flat = masked(logits, exists).reshape(-1, logits.shape[-1])
    count = exists.sum().astype(logits.dtype)
    mean = jnp.where(count > 0, flat.sum(0) / jnp.maximum(count, 1), old)
    kept = check_unit_interval(name, "momentum", jnp.asarray(momentum))
    return kept * old + (1 - kept) * mean


def _logsumexp(x: Float[Array, "batch classes"], axis: int) -> Float[Array, "..."]:
    """Zero, and not ``-inf``, where all terms are missing."""
    total = jax.nn.logsumexp(x, axis, keepdims=True)
    return jnp.where(jnp.isneginf(total), 0, total)
