r"""Losses that let a student arrange the examples of a batch as a teacher does.

They compare how examples relate to each other, two by two or three by three, so the vectors of
student and teacher may be of different length, and no projection is needed. As a rule the teacher's
are constants.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import require_rank, require_real, require_shape
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import masked, promoted, selection
from jaxloss.core.ratios import magnitude
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import norm, normalized


@compiled("reduction")
def similarity_preserving(
    student_features: Real[ArrayLike, "batch features"],
    teacher_features: Real[ArrayLike, "batch teacher_features"],
    *,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared difference in how similar student and teacher find two examples of a batch.

    .. math::
        \ell_{ij} = \left( \frac{G^s_{ij}}{\lVert G^s_i \rVert}
                   - \frac{G^t_{ij}}{\lVert G^t_i \rVert} \right)^2, \qquad G = F F^\top

    What is alike to the teacher shall be alike to the student, in whatever space. The unreduced
    loss has shape (batch, batch), over which the mean runs.

    Args:
        student_features, teacher_features: one vector per example; maps are flattened.
        where: which examples exist; the others are compared with nothing.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on pairs.

    Example:
        >>> student, teacher = jnp.eye(2), jnp.array([[1.0], [1.0]])
        >>> similarity_preserving(student, teacher)  # 1 and 0 where it should be sqrt(1/2)
        Array(0.29289..., dtype=float32)

    Reference:
        Tung and Mori, "Similarity-Preserving Knowledge Distillation", 2019.
    """
    name = "similarity_preserving"
    student, teacher, pairs = _batches(
        name, where, student_features=student_features, teacher_features=teacher_features
    )

    def similarity(features: Float[Array, "batch some"]) -> Float[Array, "batch batch"]:
        scaled = features / magnitude(jnp.abs(features).max(initial=0))
        return normalized(_product(scaled, scaled.T))

    loss = jnp.square(similarity(student) - similarity(teacher))
    return reduce(name, loss, pairs, weights, reduction)


@compiled("reduction")
def relational_distance(
    student_embeddings: Real[ArrayLike, "batch features"],
    teacher_embeddings: Real[ArrayLike, "batch teacher_features"],
    *,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Huber loss between the distances of two examples in the student's and the teacher's space.

    .. math::
        \ell_{ij} = h\!\left( \frac{\lVert s_i - s_j \rVert}{\mu_s}
                   - \frac{\lVert t_i - t_j \rVert}{\mu_t} \right), \qquad
        h(e) = \begin{cases} e^2 / 2 & |e| \le 1 \\ |e| - 1/2 & |e| > 1 \end{cases}

    Each distance is in units of :math:`\mu`, the mean over all pairs of the batch. The unreduced
    loss has shape (batch, batch): zero on the diagonal, which the mean leaves out.

    Args:
        where: which examples exist; the others are in no pair.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on pairs.

    Example:
        >>> student = jnp.array([[0.0], [1.0], [2.0]])
        >>> teacher = jnp.array([[0.0], [4.0], [16.0]])
        >>> relational_distance(student, teacher, reduction="none")[0]
        Array([0.       , 0.0703125, 0.       ], dtype=float32)

    Reference:
        Park et al., "Relational Knowledge Distillation", 2019.
    """
    name = "relational_distance"
    student, teacher, pairs = _batches(
        name, where, student_embeddings=student_embeddings, teacher_embeddings=teacher_embeddings
    )
    pairs = _distinct(student, pairs)

    def relative(embeddings: Float[Array, "batch some"]) -> Float[Array, "batch batch"]:
        apart = jnp.where(pairs, norm(_differences(embeddings)), 0)
        mean = apart.sum() / jnp.maximum(pairs.sum(dtype=apart.dtype), 1)
        return apart / jnp.where(mean == 0, 1, mean)

    return reduce(name, _huber(relative(student) - relative(teacher)), pairs, weights, reduction)


@compiled("reduction")
def relational_angle(
    student_embeddings: Real[ArrayLike, "batch features"],
    teacher_embeddings: Real[ArrayLike, "batch teacher_features"],
    *,
    where: Bool[ArrayLike, " #batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Huber loss between the angles of three examples in the student's and the teacher's space.

    .. math::
        \ell_{ijk} = h(\cos \angle s_j s_i s_k - \cos \angle t_j t_i t_k), \qquad
        h(e) = \begin{cases} e^2 / 2 & |e| \le 1 \\ |e| - 1/2 & |e| > 1 \end{cases}

    The angle is at :math:`i`. Triplets say more of a shape than pairs do, and take memory and time
    by the cube of the batch. The unreduced loss has shape (batch, batch, batch): zero unless all
    three are different, over which the mean runs.

    Args:
        where: which examples exist; the others are in no triplet.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on triplets.

    Example:
        >>> student = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> teacher = jnp.array([[0.0], [1.0], [2.0]])
        >>> relational_angle(student, teacher, reduction="none")[0, 1, 2]  # 90 degrees, and none
        Array(0.5, dtype=float32)

    Reference:
        Park et al., "Relational Knowledge Distillation", 2019.
    """
    name = "relational_angle"
    student, teacher, pairs = _batches(
        name, where, student_embeddings=student_embeddings, teacher_embeddings=teacher_embeddings
    )
    pairs = _distinct(student, pairs)
    triplets = pairs[:, :, None] & pairs[:, None, :] & pairs[None, :, :]

    def cosine(embeddings: Float[Array, "batch some"]) -> Float[Array, "batch batch batch"]:
        directions = normalized(_differences(embeddings))
        return _product(directions, directions.mT)

    error = jnp.where(triplets, cosine(student) - cosine(teacher), 0)
    return reduce(name, _huber(error), triplets, weights, reduction)


def _batches(
    name: str, where: Bool[ArrayLike, " #batch"] | None, **vectors: ArrayLike
) -> tuple[Float[Array, "batch some"], Float[Array, "batch others"], Bool[Array, "batch batch"]]:
    """Check and mask a student's and a teacher's vectors, and tell which pairs exist."""
    require_real(name, **vectors)
    require_rank(name, 2, wanted="of shape (batch, features)", exact=True, **vectors)
    student, teacher = promoted(*vectors.values())
    size = student.shape[0]
    wanted = "one row per row of the student's,"
    second = list(vectors)[1]
    require_shape(name, (size, teacher.shape[1]), wanted=wanted, **{second: teacher})
    exists = selection(name, where, (size,))
    student, teacher = masked(student, exists), masked(teacher, exists)
    exists = jnp.ones(size, bool) if exists is None else exists
    return student, teacher, exists[:, None] & exists[None, :]


def _distinct(
    student: Float[Array, "batch features"], pairs: Bool[Array, "batch batch"]
) -> Bool[Array, "batch batch"]:
    """The pairs of two different examples."""
    return pairs & ~jnp.eye(student.shape[0], dtype=bool)


def _differences(x: Float[Array, "batch features"]) -> Float[Array, "batch batch features"]:
    """From each vector, in the first axis, to each other."""
    return x[None, :, :] - x[:, None, :]


def _huber(error: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    clipped = jnp.clip(error, -1, 1)
    return clipped * (error - clipped / 2)


def _product(x: Float[Array, "*batch m k"], y: Float[Array, "*batch k n"]) -> Float[Array, "..."]:
    """Of matrices; an accelerator's default keeps some three digits."""
    return jnp.matmul(x, y, precision="highest")
