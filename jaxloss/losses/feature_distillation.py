r"""Losses that let a student learn from what a teacher computes inside, before any classes.

Features are given with the axes of space, if any, in the middle and the channels last. Where the
formula allows it, student and teacher may differ in the number of channels; where it does not, the
student's go through a learnt projection first. As a rule the teacher's are constants.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import require_rank, require_real, require_same_shape, require_shape
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import Scalar, masked, modulus, promoted, rows, selection
from jaxloss.core.ratios import magnitude
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import normalized


@compiled("reduction")
def hint(
    student_features: Float[ArrayLike, "*batch features"],
    teacher_features: Real[ArrayLike, "*batch features"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half the squared distance between a student's features and its teacher's.

    .. math::
        \ell = \frac12 \lVert s - t \rVert^2

    The student's features are those after a learnt projection to as many as the teacher has. The
    unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> hint(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0]]))
        Array(2., dtype=float32)

    Reference:
        Romero et al., "FitNets: Hints for Thin Deep Nets", 2015.
    """
    student, teacher = rows(
        "hint", where, student_features=student_features, teacher_features=teacher_features
    )
    loss = jnp.square(student - teacher).sum(-1) / 2
    return reduce("hint", loss, where, weights, reduction)


@compiled("reduction")
def attention_transfer(
    student_features: Real[ArrayLike, "batch *space channels"],
    teacher_features: Real[ArrayLike, "batch *space teacher_channels"],
    *,
    power: Scalar = 2.0,
    where: Bool[ArrayLike, "#batch *#space"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared distance between the maps of where student and teacher are active.

    .. math::
        \ell = \left\lVert \frac{Q^s}{\lVert Q^s \rVert} - \frac{Q^t}{\lVert Q^t \rVert}
               \right\rVert^2, \qquad Q_x = \sum_c |F_{xc}|^p

    Between 0 and 2. A map is a vector over all of space, so only where the activity is matters, and
    not how much of it there is nor in which channels. The unreduced loss has shape ``batch``.

    Args:
        power: :math:`p`, positive; a larger one looks at the most active channels.
        where: which places exist. An example without any does not count itself.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on examples.

    Example:
        >>> student = jnp.array([[[3.0, 0.0], [0.0, 0.0]]])  # 1 example, 2 places, 2 channels
        >>> teacher = jnp.array([[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])
        >>> attention_transfer(student, teacher)
        Array(2., dtype=float32)

    Reference:
        Zagoruyko and Komodakis, "Paying More Attention to Attention: Improving the Performance of
        Convolutional Neural Networks via Attention Transfer", 2017.
    """
    name = "attention_transfer"
    maps = _maps(name, where, student_features=student_features, teacher_features=teacher_features)
    student, teacher = (_attention(features, power) for features in maps.features)
    loss = jnp.square(student - teacher).sum(-1)
    return reduce(name, loss, maps.exists, weights, reduction)


@compiled("reduction")
def neuron_selectivity(
    student_features: Real[ArrayLike, "batch *space channels"],
    teacher_features: Real[ArrayLike, "batch *space teacher_channels"],
    *,
    where: Bool[ArrayLike, "#batch *#space"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Distance between the distributions of what the channels of student and teacher respond to.

    .. math::
        \ell = \left\lVert \frac1{C_s} \sum_c \hat s_c \hat s_c^\top
             - \frac1{C_t} \sum_c \hat t_c \hat t_c^\top \right\rVert_F^2, \qquad
        \hat x_c = \frac{x_c}{\lVert x_c \rVert}

    The squared maximum mean discrepancy, with the kernel :math:`(x^\top y)^2`, of two sets of
    vectors over space, one per channel. It compares places two by two, so it suits the small maps
    of late layers. The unreduced loss has shape ``batch``.

    Args:
        where: which places exist. An example without any does not count itself.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on examples.

    Example:
        >>> student = jnp.array([[[3.0, 0.0], [0.0, 2.0]]])  # 1 example, 2 places, 2 channels
        >>> teacher = jnp.array([[[1.0], [0.0]]])
        >>> neuron_selectivity(student, teacher)  # of the matrices diag(1/2, 1/2) and diag(1, 0)
        Array(0.5, dtype=float32)

    Reference:
        Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
        2017.
    """
    name = "neuron_selectivity"
    maps = _maps(name, where, student_features=student_features, teacher_features=teacher_features)

    def kernel(features: Float[Array, "batch places some"]) -> Float[Array, "batch places places"]:
        vectors = normalized(features.mT)
        return _product(vectors.mT, vectors) / features.shape[-1]

    student, teacher = map(kernel, maps.features)
    loss = jnp.square(student - teacher).sum((-2, -1))
    return reduce(name, loss, maps.exists, weights, reduction)


@compiled("reduction")
def solution_flow(
    student_features: Real[ArrayLike, "batch *space channels"],
    student_later_features: Real[ArrayLike, "batch *space later_channels"],
    teacher_features: Real[ArrayLike, "batch *space channels"],
    teacher_later_features: Real[ArrayLike, "batch *space later_channels"],
    *,
    where: Bool[ArrayLike, "#batch *#space"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared distance between how student and teacher get from one layer to a later one.

    .. math::
        \ell = \lVert G^s - G^t \rVert_F^2, \qquad
        G_{ij} = \frac1X \sum_x F_{xi} F'_{xj}

    Known as FSP. The product of two layers stands for the step of the solution between them, and
    not for either result. The unreduced loss has shape ``batch``.

    Args:
        student_later_features, teacher_later_features: :math:`F'`, over the same places.
        where: which places exist; :math:`X` counts these. An example without any does not count
            itself.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on examples.

    Example:
        >>> one, two = jnp.ones((1, 4, 1)), jnp.full((1, 4, 1), 2.0)
        >>> solution_flow(one, two, two, two)  # (2 - 4)^2
        Array(4., dtype=float32)

    Reference:
        Yim et al., "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and
        Transfer Learning", 2017.
    """
    name = "solution_flow"
    require_same_shape(name, student_features=student_features, teacher_features=teacher_features)
    require_same_shape(
        name,
        student_later_features=student_later_features,
        teacher_later_features=teacher_later_features,
    )
    maps = _maps(
        name,
        where,
        student_features=student_features,
        student_later_features=student_later_features,
        teacher_features=teacher_features,
        teacher_later_features=teacher_later_features,
    )
    student, later, teacher, teacher_later = maps.features
    flow = _product(student.mT, later) - _product(teacher.mT, teacher_later)
    loss = jnp.square(flow / maps.places[:, None, None]).sum((-2, -1))
    return reduce(name, loss, maps.exists, weights, reduction)


class _Maps(NamedTuple):
    """Features over places, in one axis; zero where there is no such place."""

    features: list[Float[Array, "batch places some"]]
    places: Float[Array, " batch"]  # how many there are, but one if there is none
    exists: Bool[Array, " batch"] | None  # whether there is any


def _maps(name: str, where: Bool[ArrayLike, "#batch *#space"] | None, **features: Any) -> _Maps:
    """Check and mask features over the same places."""
    require_real(name, **features)
    wanted = "of shape (batch, *space, channels) with at least one axis of space"
    require_rank(name, 3, wanted=wanted, **features)
    shape = jnp.shape(next(iter(features.values())))[:-1]
    for argument, given in features.items():
        wanted = "over the same places, with channels last:"
        require_shape(name, (*shape, *jnp.shape(given)[-1:]), wanted=wanted, **{argument: given})
    selected = selection(name, where, shape)
    size, count = shape[0], math.prod(shape[1:])
    arrays = [masked(x, selected) for x in promoted(*features.values())]
    flat = [x.reshape(size, count, x.shape[-1]) for x in arrays]
    if selected is None:
        return _Maps(flat, jnp.full(size, count, flat[0].dtype), None)
    places = selected.reshape(size, count).sum(-1, dtype=flat[0].dtype)
    return _Maps(flat, jnp.where(places == 0, 1, places), places > 0)


def _attention(
    features: Float[Array, "batch places channels"], power: Scalar
) -> Float[Array, "batch places"]:
    """Where there is activity, as a vector of length one; zero if there is none."""
    size = modulus(features)
    largest = magnitude(size.max((-2, -1), keepdims=True, initial=0))
    active = size > 0
    raised = jnp.where(active, size / largest, 1) ** power
    return normalized(jnp.where(active, raised, 0).sum(-1))


def _product(x: Float[Array, "*batch m k"], y: Float[Array, "*batch k n"]) -> Float[Array, "..."]:
    """Of matrices; an accelerator's default keeps some three digits."""
    return jnp.matmul(x, y, precision="highest")
