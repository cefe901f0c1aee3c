r"""Losses between a student and a teacher, fused with the output layers of both.

Each is the loss of the same name in :mod:`jaxloss.losses.distillation` on ``hidden @ kernel`` and
``teacher_hidden @ teacher_kernel``, of which only the logits of some tokens exist at a time. The
vocabulary is common; student and teacher may have different numbers of features.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import require_floating, require_rank, require_shape
from jaxloss.core.inputs import Scalar, masked, selection
from jaxloss.core.reducing import Reduction
from jaxloss.kernels.operands import logits
from jaxloss.kernels.plans import Plan
from jaxloss.kernels.reducing import Head, by_rows, head
from jaxloss.losses import distillation

TILES = 17
"""How many arrays of the size of a tile of logits a loss and its gradient take at most."""


def linear_kl(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    teacher_hidden: Float[ArrayLike, "*batch teacher_features"],
    teacher_kernel: Float[ArrayLike, "teacher_features vocabulary"],
    *,
    temperature: Scalar = 1.0,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    teacher_bias: Float[ArrayLike, " vocabulary"] | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Knowledge distillation between two output layers, whose logits never exist all at once.

    .. math::
        \ell = \tau^2 \sum_c t_c \log \frac{t_c}{s_c}, \qquad
        s = \operatorname{softmax}\left( \frac{h W + b}{\tau} \right), \quad
        t = \operatorname{softmax}\left( \frac{h' W' + b'}{\tau} \right)

    It is :func:`~jaxloss.losses.distillation.kl` of the logits, to whose digits it keeps value and
    gradient. The gradients take two products beside the one for each logits. The unreduced shape is
    ``*batch``.

    Args:
        temperature: :math:`\tau`, positive.
        teacher_hidden, teacher_kernel, teacher_bias: the teacher's; constants, as a rule, of which
            no gradient is then computed.
        bias, classes, plan, memory, where, weights, reduction: as in
            :func:`jaxloss.kernels.linear_softmax_cross_entropy`; the plan leaves rows whole.

    Example:
        >>> hidden, kernel, teacher = jnp.ones((3, 8)), jnp.zeros((8, 2)), jnp.ones((3, 4))
        >>> odds = jnp.zeros((4, 2)).at[:, 1].set(jnp.log(3.0) / 4)
        >>> linear_kl(hidden, kernel, teacher, odds)  # of 1/4, 3/4 and 1/2, 1/2
        Array(0.1308..., dtype=float32)

    Reference:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    fused = over_two_linear(distillation.kl)
    return fused(
        hidden, kernel, teacher_hidden, teacher_kernel, temperature=temperature, bias=bias,
        teacher_bias=teacher_bias, classes=classes, plan=plan, memory=memory, where=where,
        weights=weights, reduction=reduction,
    )  # fmt: skip


def linear_reverse_kl(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    teacher_hidden: Float[ArrayLike, "*batch teacher_features"],
    teacher_kernel: Float[ArrayLike, "teacher_features vocabulary"],
    *,
    temperature: Scalar = 1.0,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    teacher_bias: Float[ArrayLike, " vocabulary"] | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Divergence of a teacher from a student between two output layers, without all logits.

    .. math::
        \ell = \tau^2 \sum_c s_c \log \frac{s_c}{t_c}, \qquad
        s = \operatorname{softmax}\left( \frac{h W + b}{\tau} \right), \quad
        t = \operatorname{softmax}\left( \frac{h' W' + b'}{\tau} \right)

    It is :func:`~jaxloss.losses.distillation.reverse_kl` of the logits. With a reference in the
    teacher's place, it is the exact divergence of a policy from that, token by token. The unreduced
    shape is ``*batch``.

    Args:
        temperature: :math:`\tau`, positive.
        teacher_hidden, teacher_kernel, teacher_bias, bias, classes, plan, memory, where, weights,
            reduction: as in :func:`linear_kl`.

    Example:
        >>> hidden, kernel, teacher = jnp.ones((3, 8)), jnp.zeros((8, 2)), jnp.ones((3, 4))
        >>> odds = jnp.zeros((4, 2)).at[:, 1].set(jnp.log(3.0) / 4)
        >>> linear_reverse_kl(hidden, kernel, teacher, odds)  # log(4/3) / 2
        Array(0.1438..., dtype=float32)

    Reference:
        Gu et al., "MiniLLM: Knowledge Distillation of Large Language Models", 2024.
    """
    fused = over_two_linear(distillation.reverse_kl)
    return fused(
        hidden, kernel, teacher_hidden, teacher_kernel, temperature=temperature, bias=bias,
        teacher_bias=teacher_bias, classes=classes, plan=plan, memory=memory, where=where,
        weights=weights, reduction=reduction,
    )  # fmt: skip


def linear_jensen_shannon(
    hidden: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    teacher_hidden: Float[ArrayLike, "*batch teacher_features"],
    teacher_kernel: Float[ArrayLike, "teacher_features vocabulary"],
    *,
    teacher_share: Scalar = 0.5,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    teacher_bias: Float[ArrayLike, " vocabulary"] | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Generalized Jensen-Shannon divergence between two output layers, without all logits.

    .. math::
        \ell = \pi \operatorname{KL}(t \,\|\, m) + (1 - \pi) \operatorname{KL}(s \,\|\, m),
        \qquad m = \pi t + (1 - \pi) s

    It is :func:`~jaxloss.losses.distillation.jensen_shannon` of the logits. The unreduced shape is
    ``*batch``.

    Args:
        teacher_share: :math:`\pi`, the share of the teacher in the mixture; between 0 and 1.
        teacher_hidden, teacher_kernel, teacher_bias, bias, classes, plan, memory, where, weights,
            reduction: as in :func:`linear_kl`.

    Example:
        >>> hidden, kernel, teacher = jnp.ones((3, 8)), jnp.zeros((8, 2)), jnp.ones((3, 4))
        >>> odds = jnp.zeros((4, 2)).at[:, 1].set(jnp.log(3.0) / 4)
        >>> linear_jensen_shannon(hidden, kernel, teacher, odds)
        Array(0.0338..., dtype=float32)

    Reference:
        Agarwal et al., "On-Policy Distillation of Language Models: Learning from Self-Generated
        Mistakes", 2024.
    """
    fused = over_two_linear(distillation.jensen_shannon)
    return fused(
        hidden, kernel, teacher_hidden, teacher_kernel, teacher_share=teacher_share, bias=bias,
        teacher_bias=teacher_bias, classes=classes, plan=plan, memory=memory, where=where,
        weights=weights, reduction=reduction,
    )  # fmt: skip


def over_two_linear(loss: Callable[..., Any]) -> Callable[..., Array]:
    r"""Fuse any loss between a student's and a teacher's logits with both output layers.

    .. math::
        L = \sum_i w_i\, \ell(h_i W + b, h'_i W' + b', \dots) \Big/ \sum_i w_i

    Args:
        loss: any loss that takes rows of logits of a student and of a teacher, called as
            ``loss(logits, teacher_logits, *arrays, reduction="none", **options)``, with ``where=``
            if that was given; see :func:`jaxloss.kernels.over_linear`.

    Returns:
        ``fused(hidden, kernel, teacher_hidden, teacher_kernel, *arrays, bias=None,
        teacher_bias=None, classes=None, plan=None, memory=None, where=None, weights=None,
        reduction="mean", **options)``. Each of the ``arrays`` has the leading axes of ``hidden``.
        All of these, and the options that are numbers, may be differentiated.

    Example:
        >>> from jaxloss.losses import partial_distillation
        >>> decoupled = over_two_linear(partial_distillation.decoupled_kl)
        >>> hidden, kernel, labels = jnp.ones((3, 8)), jnp.zeros((8, 3)), jnp.array([0, 1, 2])
        >>> decoupled(hidden, kernel, hidden, kernel, labels, others_weight=2.0)
        Array(0., dtype=float32)
    """

    def fused(
        hidden: Float[ArrayLike, "*batch features"],
        kernel: Float[ArrayLike, "features vocabulary"],
        teacher_hidden: Float[ArrayLike, "*batch teacher_features"],
        teacher_kernel: Float[ArrayLike, "teacher_features vocabulary"],
        *arrays: ArrayLike,
        bias: Float[ArrayLike, " vocabulary"] | None = None,
        teacher_bias: Float[ArrayLike, " vocabulary"] | None = None,
        classes: int | None = None,
        plan: Plan | None = None,
        memory: int | None = None,
        where: Bool[ArrayLike, "*#batch"] | None = None,
        weights: Real[ArrayLike, "..."] | None = None,
        reduction: Reduction = "mean",
        **options: Any,
    ) -> Float[Array, "..."]:
        numbers = float | jax.Array | np.ndarray | np.generic
        traced = {k: v for k, v in options.items() if isinstance(v, numbers)}
        static = tuple((k, v) for k, v in options.items() if k not in traced)
        return _fused(
            loss, static, classes, plan, memory, reduction, hidden, kernel,
            (teacher_hidden, teacher_kernel, teacher_bias), arrays, bias, where, weights, traced,
        )  # fmt: skip

    return fused


class _TwoRows(NamedTuple):
    """A loss that looks at whole rows of two logits, of which the teacher's are made here."""

    loss: Callable[..., Any]
    static: tuple[tuple[str, Any], ...]
    """options that are no numbers"""
    classes: int | None

    def __call__(self, z: Array, rows: Any, options: Any, bounds: Any) -> Array:
        """The loss of each row."""
        teacher = logits(rows["teacher"], options["kernel"], options["bias"], z.dtype)
        where = {} if rows["where"] is None else {"where": rows["where"]}
        found = self.loss(
            *(x[:, : self.classes] for x in (z, teacher)), *rows["arrays"], **where,
            **options["numbers"], **dict(self.static), reduction="none",
        )  # fmt: skip
        if jnp.shape(found) != z.shape[:1]:
            raise ValueError(
                f"over_two_linear: loss must return one number per row, {z.shape[:1]}, "
                f"got shape {jnp.shape(found)}"
            )
        return found.astype(z.dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _fused(
    loss: Callable[..., Any],
    static: tuple[tuple[str, Any], ...],
    classes: int | None,
    plan: Plan | None,
    memory: int | None,
    reduction: Reduction,
    hidden: Any,
    kernel: Any,
    teacher: tuple[Any, Any, Any],
    arrays: Any,
    bias: Any,
    where: Any,
    weights: Any,
    numbers: dict[str, Scalar],
) -> Float[Array, "..."]:
    name = "over_two_linear"
    layer = head(name, hidden, kernel, None, bias=bias, classes=classes, plan=plan, memory=memory,
                 where=where)  # fmt: skip
    batch, vocabulary = layer.poison.shape, layer.operands.kernel.shape[1]
    told, taught = jnp.asarray(teacher[0]), jnp.asarray(teacher[1])
    tilt = None if teacher[2] is None else jnp.asarray(teacher[2])
    require_floating(name, teacher_hidden=told, teacher_kernel=taught)
    require_rank(name, 1, wanted="one row of features per token", teacher_hidden=told)
    features = told.shape[-1]
    require_shape(name, (*batch, features), wanted="rows like hidden,", teacher_hidden=told)
    wanted = "one row per feature of teacher_hidden, one column per column of kernel,"
    require_shape(name, (features, vocabulary), wanted=wanted, teacher_kernel=taught)
    if tilt is not None:
        wanted = "one number per column of teacher_kernel,"
        require_shape(name, (vocabulary,), wanted=wanted, teacher_bias=tilt)
    arrays = [jnp.asarray(array) for array in arrays]
    for position, array in enumerate(arrays):
        if array.shape[: len(batch)] != batch:
            raise ValueError(
                f"{name}: arrays[{position}] must have the leading axes of hidden, {batch}, "
                f"got shape {array.shape}"
            )
    exists = selection(name, where, batch)
    rows = {"teacher": masked(told, exists), "arrays": arrays, "where": exists}
    options = {"kernel": taught, "bias": tilt, "numbers": numbers}
    operands = layer.operands._replace(rows=rows, options=options)
    rule = _TwoRows(loss, static, layer.classes)
    return by_rows(layer, rule, _planned(layer), operands, weights, reduction)


def _planned(layer: Head) -> Plan:
    """Tiles that take no more memory than the kernel does, or than is given."""
    name, plan, memory = layer.name, layer.plan, layer.memory
    hidden, kernel = layer.operands.hidden, layer.operands.kernel
    if plan is not None:
        if plan.columns is not None or plan.axis is not None:
            raise ValueError(f"{name}: plan must leave rows whole, as a loss sees them, got {plan}")
        return plan
    tokens, item = layer.poison.size, layer.poison.dtype.itemsize
    row, summed = TILES * kernel.shape[1] * item, kernel.size * item
    if memory is None:
        rows = max(256, summed // row)
    else:
        rows = memory // row if memory >= tokens * row else (memory - summed) // row
        if rows < 1:
            raise ValueError(
                f"{name}: memory must be at least {min(tokens * row, summed + row)} bytes for "
                f"{tokens} tokens, {hidden.shape[-1]} features and {kernel.shape[1]} columns, "
                f"got {memory}"
            )
    return Plan() if rows >= tokens else Plan(tokens=rows)
