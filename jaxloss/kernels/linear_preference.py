r"""Losses on whole answers, fused with the output layer that gives each token its probability.

Each is a loss of :mod:`jaxloss.losses.preference` or its like on the log-probabilities of answers,
which are sums over tokens, or means. The logits of some prompts' answers exist at a time, and
become the gradients at once: three matrix products. If not even those of one prompt may, they are
made some columns at a time, and once more for the gradients.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import require_rank
from jaxloss.core.inputs import Scalar, masked, selection
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.kernels.plans import Plan, fitted
from jaxloss.kernels.reducing import Head, by_rows, head, layer_of, reduced
from jaxloss.kernels.scores import (
    linear_sequence_log_probabilities,
    log_probability,
    of_sequences,
)
from jaxloss.kernels.streamed import Measure, link, row_statistics
from jaxloss.losses import preference


def linear_dpo(
    hidden: Float[ArrayLike, "*batch answers tokens features"],
    kernel: Float[ArrayLike, "features vocabulary"],
    labels: Int[ArrayLike, "*batch answers tokens"],
    reference_hidden: Float[ArrayLike, "*batch answers tokens reference_features"],
    reference_kernel: Float[ArrayLike, "reference_features vocabulary"],
    *,
    scale: Scalar = 0.1,
    bias: Float[ArrayLike, " vocabulary"] | None = None,
    reference_bias: Float[ArrayLike, " vocabulary"] | None = None,
    softcap: Scalar | None = None,
    classes: int | None = None,
    plan: Plan | None = None,
    memory: int | None = None,
    where: Bool[ArrayLike, "*#batch #answers #tokens"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Direct preference optimization of an output layer, whose logits never exist all at once.

    .. math::
        \ell = -\log \sigma(\beta \Delta), \qquad
        \Delta = \log \frac{\pi(y^+)}{\pi_0(y^+)} - \log \frac{\pi(y^-)}{\pi_0(y^-)}

    It is :func:`~jaxloss.losses.preference.dpo` of the
    :func:`~jaxloss.kernels.linear_sequence_log_probabilities` of policy and reference. If those of
    the reference are known already, or for any other loss on answers, see :func:`over_answers`. The
    unreduced shape is ``*batch``.

    Args:
        hidden, labels: of the chosen answer first, of the rejected one second; the shorter one is
            padded.
        reference_hidden, reference_kernel, reference_bias: the reference's; constants, as a rule,
            of which no gradient is then computed.
        scale: :math:`\beta`, positive; the larger, the closer the policy stays to the reference.
        where: which tokens exist, as a rule those of the answers and not those of the prompt. A
            pair without any does not count.
        bias, softcap, classes, plan, memory, weights, reduction: as in
            :func:`jaxloss.kernels.linear_softmax_cross_entropy`, but the weights are those of
            pairs, and the plan has room for one pair at least.

    Example:
        >>> hidden, kernel = jnp.ones((1, 2, 3, 8)), jnp.zeros((8, 5))
        >>> labels = jnp.array([[[0, 1, 2], [3, 4, 0]]])
        >>> linear_dpo(hidden, kernel, labels, hidden, kernel)  # log 2
        Array(0.6931472, dtype=float32)

    Reference:
        Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward
        Model", 2023.
    """
    return over_answers(preference.dpo)(
        hidden, kernel, labels, reference_hidden=reference_hidden,
        reference_kernel=reference_kernel, reference_bias=reference_bias, scale=scale, bias=bias,
        softcap=softcap, classes=classes, plan=plan, memory=memory, where=where, weights=weights,
        reduction=reduction,
    )  # fmt: skip


def over_answers(loss: Callable[..., Any], *, average: bool = False) -> Callable[..., Array]:
    r"""Fuse any loss on the log-probabilities of answers with the output layer that makes them.

    .. math::
        L = \sum_i w_i\, \ell(\log p_{i1}, \log p_{i2}, \dots) \Big/ \sum_i w_i, \qquad
        \log p_{ia} = \sum_t \log \operatorname{softmax}(h_{iat} W + b)_{y_{iat}}

    Args:
        loss: called as ``loss(*log_probabilities, *arrays, reduction="none", **options)``, with the
            log-probabilities of the first answers, of the second ones, and so on, it returns one
            number for each. All of :mod:`jaxloss.losses.preference`,
            :mod:`~jaxloss.losses.preference_variants` and :mod:`~jaxloss.losses.reference_free`
            take two answers, :func:`~jaxloss.losses.unpaired_preference.kto` and ``bco`` one. It
            must not look from one row at another, as ``aot`` does.
        average: whether log-probabilities are means over tokens, as for
            :func:`~jaxloss.losses.reference_free.simpo` and ``orpo``, and not sums.

    Returns:
        ``fused(hidden, kernel, labels, *arrays, bias=None, reference_hidden=None,
        reference_kernel=None, reference_bias=None, softcap=None, classes=None, plan=None,
        memory=None, where=None, weights=None, reduction="mean", **options)``, as
        :func:`linear_dpo`: ``hidden`` has axes of answers and of tokens before the last. What the
        reference gives to the answers follows what the policy does, if its hidden states and kernel
        are given; or else it comes first among the ``arrays``, all of shape ``*batch``. These, and
        the options that are numbers, may be differentiated.

    Example:
        >>> from jaxloss.losses import reference_free
        >>> simpo = over_answers(reference_free.simpo, average=True)
        >>> hidden, kernel = jnp.ones((1, 2, 3, 8)), jnp.zeros((8, 5))
        >>> simpo(hidden, kernel, jnp.array([[[0, 1, 2], [3, 4, 0]]]), margin=0.0)  # log 2
        Array(0.6931472, dtype=float32)
    """

    def fused(
        hidden: Float[ArrayLike, "*batch answers tokens features"],
        kernel: Float[ArrayLike, "features vocabulary"],
        labels: Int[ArrayLike, "*batch answers tokens"],
        *arrays: ArrayLike,
        bias: Float[ArrayLike, " vocabulary"] | None = None,
        reference_hidden: Float[ArrayLike, "*batch answers tokens reference_features"]
        | None = None,
        reference_kernel: Float[ArrayLike, "reference_features vocabulary"] | None = None,
        reference_bias: Float[ArrayLike, " vocabulary"] | None = None,
        softcap: Scalar | None = None,
        classes: int | None = None,
        plan: Plan | None = None,
        memory: int | None = None,
        where: Bool[ArrayLike, "*#batch #answers #tokens"] | None = None,
        weights: Real[ArrayLike, "..."] | None = None,
        reduction: Reduction = "mean",
        **options: Any,
    ) -> Float[Array, "..."]:
        numbers = float | jax.Array | np.ndarray | np.generic
        traced = {k: v for k, v in options.items() if isinstance(v, numbers)}
        static = tuple((k, v) for k, v in options.items() if k not in traced)
        return _fused(
            _Judge(loss, static, average), classes, plan, memory, reduction, hidden, kernel, labels,
            (reference_hidden, reference_kernel, reference_bias), arrays, bias, softcap, where,
            weights, traced,
        )  # fmt: skip

    return fused


class _Judge(NamedTuple):
    """A loss on the log-probabilities of some answers to one prompt."""

    loss: Callable[..., Any]
    static: tuple[tuple[str, Any], ...]
    """options that are no numbers"""
    average: bool

    def of(self, log_p: Float[Array, "*batch answers tokens"], rows: Any, options: Any) -> Array:
        """The loss of each row, from the log-probabilities of its tokens."""
        answers = of_sequences(log_p, rows["exists"], self.average)
        each = [answers[..., i] for i in range(answers.shape[-1])]
        found = self.loss(*each, *rows["arrays"], **options, **dict(self.static), reduction="none")
        if jnp.shape(found) != answers.shape[:-1]:
            raise ValueError(
                f"over_answers: loss must return one number per row, {answers.shape[:-1]}, "
                f"got shape {jnp.shape(found)}"
            )
        return found.astype(log_p.dtype)


class _Answers(NamedTuple):
    """The same, from the logits of all tokens of a row."""

    judge: _Judge
    measure: Measure

    def __call__(self, z: Array, rows: Any, options: Any, bounds: Any) -> Array:
        """The loss of each row."""
        labels = rows["labels"]
        bounded = link(z.reshape(-1, z.shape[-1]), bounds)
        found: Any = row_statistics(self.measure, bounded, labels.reshape(-1))
        return self.judge.of(-found.nll.reshape(labels.shape) * rows["poison"], rows, options)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _fused(
    judge: _Judge,
    classes: int | None,
    plan: Plan | None,
    memory: int | None,
    reduction: Reduction,
    hidden: Any,
    kernel: Any,
    labels: Any,
    reference: tuple[Any, Any, Any],
    arrays: Any,
    bias: Any,
    softcap: Any,
    where: Any,
    weights: Any,
    options: dict[str, Scalar],
) -> Float[Array, "..."]:
    name = "over_answers"
    require_rank(name, 3, wanted="of shape (*batch, answers, tokens, features)", hidden=hidden)
    layer = head(name, hidden, kernel, labels, bias=bias, softcap=softcap, classes=classes,
                 plan=plan, memory=memory, where=where)  # fmt: skip
    shape = layer.poison.shape
    batch, exists = shape[:-2], selection(name, where, shape)
    present = None if exists is None else exists.any((-2, -1))
    arrays = [jnp.asarray(array) for array in arrays]
    for position, array in enumerate(arrays):
        if array.shape[: len(batch)] != batch:
            raise ValueError(
                f"{name}: arrays[{position}] must have the leading axes of hidden, {batch}, "
                f"got shape {array.shape}"
            )
    if (reference[0] is None) != (reference[1] is None):
        raise ValueError(f"{name}: reference_hidden and reference_kernel must be given together")
    if reference[0] is not None:
        before, head_before, tilt = reference
        told = linear_sequence_log_probabilities(
            before, head_before, labels, average=judge.average, bias=tilt, softcap=softcap,
            classes=classes, plan=plan, memory=memory, where=where,
        )  # fmt: skip
        arrays = [*jnp.moveaxis(told, -1, 0), *arrays]
    rows = {"exists": exists, "arrays": [masked(array, present) for array in arrays]}
    layer = layer._replace(plan=_planned(layer), memory=None)
    plan = layer.plan
    assert plan is not None
    if plan.columns is not None or plan.placed is not None or plan.axis is not None:
        log_p = reduced(layer, log_probability, ("nll",), {}, None, "none")
        return reduce(name, judge.of(log_p, rows, options), present, weights, reduction)
    rows |= {"labels": layer.operands.rows["labels"], "poison": layer.poison}
    operands = layer.operands._replace(rows=rows, options=options)
    whole = layer._replace(poison=jnp.ones(batch, layer.poison.dtype), where=present)
    plan = plan._replace(tokens=plan.tokens and plan.tokens // (shape[-2] * shape[-1]))
    rule = _Answers(judge, Measure(("nll",), layer.classes))
    return by_rows(whole, rule, plan, operands, weights, reduction)


def _planned(layer: Head) -> Plan:
    """How many tokens at a time, whole rows of them; or else how many columns."""
    hidden, plan = layer.operands.hidden, layer.plan
    if plan is not None and plan.placed is not None:  # and fitted, to a device's share
        return plan
    row = max(1, layer.poison.shape[-2] * layer.poison.shape[-1])
    fit = functools.partial(
        fitted, layer.name, layer_of(hidden, layer.operands.kernel), memory=layer.memory
    )
    if plan is not None:
        if plan.columns is None and plan.tokens is not None:
            plan = plan._replace(tokens=max(plan.tokens, row))
        return fit(plan=plan, per_token=False)
    plan = fit(plan=None, per_token=False)
    if plan.columns is None and plan.tokens is not None and plan.tokens < row:
        return fit(plan=None, per_token=True)
    return plan
