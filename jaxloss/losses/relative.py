"""Losses between predictions and targets that do not depend on the unit they are measured in.

Each divides an error by something of the same unit: the target, both, a scale, or a spread. Where
that is zero, and the quotient so undefined, an element does not count, unless it is said otherwise.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_not_negative, require_rank
from jaxloss.core.compiling import compiled
from jaxloss.core.inputs import at_least_float32, masked, modulus, same_shape, selection
from jaxloss.core.ratios import magnitude, share
from jaxloss.core.reducing import Reduction, reduce
from jaxloss.core.vectors import norm, normalized


@compiled("reduction")
def squared_log(
    amounts: Real[ArrayLike, "*shape"],
    target_amounts: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error of logarithms, of amounts that may be zero.

    .. math::
        \ell = \bigl( \log(1 + p) - \log(1 + t) \bigr)^2

    For large amounts the squared relative error, for small ones the squared error: the 1 is in the
    unit of the amounts, so choose that. Predicting too little costs more than predicting too much
    by as much. The unreduced shape is that of ``amounts``.

    Args:
        amounts, target_amounts: not negative, as from a softplus.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> squared_log(3.0, 7.0)
        Array(0.48045...

    Reference:
        Bartlett, "The Use of Transformations", 1947, for the logarithm of counts plus one.
    """
    name = "squared_log"
    predicted, actual = same_shape(name, amounts=amounts, target_amounts=target_amounts)
    selected = selection(name, where, predicted.shape)
    predicted, actual = masked(predicted, selected), masked(actual, selected)
    predicted = check_not_negative(name, "amounts", predicted)
    actual = check_not_negative(name, "target_amounts", actual)
    # The logarithm of the ratio, not the difference of logarithms, which loses the digits of a
    # small error; but that does not underflow for a large one.
    excess = (predicted - actual) / (1 + actual)
    near = jnp.abs(excess) < 0.5
    apart = jnp.log1p(predicted) - jnp.log1p(actual)
    difference = jnp.where(near, jnp.log1p(jnp.where(near, excess, 0)), apart)
    return reduce(name, difference * difference, where, weights, reduction)


@compiled("reduction")
def absolute_percentage(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error as a fraction of the target.

    .. math::
        \ell = \frac{|\text{predictions} - \text{targets}|}{|\text{targets}|}

    A fraction, not times 100. Since an estimate that is too low costs 1 at most, and one that is
    too high any amount, it favors low ones. A target of 0 has no percentages: it does not count.
    The unreduced shape is that of ``predictions``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`; weighed by the size of
            the targets, the mean is the sum of errors over the sum of targets, known as WAPE.

    Example:
        >>> predictions, targets = jnp.array([1.0, 5.0, 3.0]), jnp.array([2.0, 4.0, 0.0])
        >>> absolute_percentage(predictions, targets, reduction="none")
        Array([0.5 , 0.25, 0.  ], dtype=float32)
        >>> absolute_percentage(predictions, targets, weights=jnp.abs(targets))
        Array(0.3333..., dtype=float32)

    Reference:
        Hyndman & Koehler, "Another look at measures of forecast accuracy", 2006.
    """
    name = "absolute_percentage"
    predicted, actual = same_shape(name, predictions=predictions, targets=targets)
    selected = selection(name, where, predicted.shape)
    predicted, actual = masked(predicted, selected), masked(actual, selected)
    defined = actual != 0
    error = jnp.where(defined, predicted - actual, 0)
    loss = modulus(error) / jnp.abs(jnp.where(defined, actual, 1))
    return reduce(name, loss, defined, weights, reduction)


@compiled("reduction")
def symmetric_absolute_percentage(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error as a fraction of the mean size of prediction and target.

    .. math::
        \ell = \frac{|p - t|}{(|p| + |t|) / 2}

    A fraction in [0, 2], not times 100; some leave out the 2. Where prediction and target differ
    in sign, or one of them is 0, it is 2 whatever their size, and has no gradient; where both are
    0, it is 0. The unreduced shape is that of ``predictions``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> predictions, targets = jnp.array([1.0, -1.0, 0.0]), jnp.array([3.0, 3.0, 0.0])
        >>> symmetric_absolute_percentage(predictions, targets, reduction="none")
        Array([1., 2., 0.], dtype=float32)

    Reference:
        Makridakis, "Accuracy measures: theoretical and practical concerns", 1993.
    """
    name = "symmetric_absolute_percentage"
    predicted, actual = same_shape(name, predictions=predictions, targets=targets)
    selected = selection(name, where, predicted.shape)
    predicted, actual = masked(predicted, selected), masked(actual, selected)
    # |p| + |t| is |p - t| and twice the smaller of them, if they have one sign.
    agree = jnp.sign(predicted) == jnp.sign(actual)
    smaller = jnp.where(agree, jnp.minimum(jnp.abs(predicted), jnp.abs(actual)), 0)
    loss = 2 * share(modulus(predicted - actual), 2 * smaller)
    return reduce(name, loss, where, weights, reduction)


@compiled("reduction")
def scaled_absolute(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error in units of what is an ordinary error there.

    .. math::
        \ell = \frac{|\text{predictions} - \text{targets}|}{s}

    With the :func:`naive_error` of each series for its scale it is MASE: below 1, a forecast beats
    the naive one. A scale of 0, of a series that never changed, does not count. The unreduced
    shape is that of ``predictions``.

    Args:
        scales: :math:`s`, not negative, one for each prediction.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        Two series of four steps, each with a forecast of the next two:

        >>> history = jnp.array([[1.0, 2.0, 3.0, 4.0], [10.0, 30.0, 10.0, 30.0]])
        >>> scales = jnp.repeat(naive_error(history)[:, None], 2, axis=1)
        >>> predictions = jnp.array([[5.0, 5.0], [20.0, 20.0]])
        >>> targets = jnp.array([[5.0, 6.0], [10.0, 30.0]])
        >>> scaled_absolute(predictions, targets, scales, reduction="none")
        Array([[0. , 1. ],
               [0.5, 0.5]], dtype=float32)

    Reference:
        Hyndman & Koehler, "Another look at measures of forecast accuracy", 2006.
    """
    ratio, defined = _scaled("scaled_absolute", predictions, targets, scales, where)
    return reduce("scaled_absolute", modulus(ratio), defined, weights, reduction)


@compiled("reduction")
def scaled_squared(
    predictions: Real[ArrayLike, "*shape"],
    targets: Real[ArrayLike, "*shape"],
    scales: Real[ArrayLike, "*shape"],
    *,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error in units of what is an ordinary error there.

    .. math::
        \ell = \Bigl( \frac{\text{predictions} - \text{targets}}{s} \Bigr)^2

    As :func:`scaled_absolute`. With ``naive_error(history, power=2)`` for scales, the root of its
    mean over the steps of a series is RMSSE. The unreduced shape is that of ``predictions``.

    Args:
        scales: :math:`s`, not negative, one for each prediction; one of 0 does not count.
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> scaled_squared(jnp.array([5.0, 5.0]), jnp.array([1.0, 9.0]), jnp.array([2.0, 0.0]))
        Array(4., dtype=float32)

    Reference:
        Hyndman & Koehler, "Another look at measures of forecast accuracy", 2006.
    """
    ratio, defined = _scaled("scaled_squared", predictions, targets, scales, where)
    return reduce("scaled_squared", ratio * ratio, defined, weights, reduction)


def naive_error(
    history: Real[ArrayLike, "*batch time"], *, season: int = 1, power: int = 1
) -> Float[Array, "*batch"]:
    r"""Error of forecasting each step of a series by the one a season before.

    Args:
        history: what was known when the forecast was made.
        season: steps after which a series repeats itself; 1 if it does not.
        power: 1 for the mean absolute error, 2 for the root of the mean squared one.

    Example:
        >>> naive_error(jnp.array([1.0, 5.0, 2.0, 7.0]), season=2)
        Array(1.5, dtype=float32)
    """
    known = at_least_float32(history)
    require_rank("naive_error", 1, wanted="series of steps", history=known)
    if not 0 < season < known.shape[-1]:
        raise ValueError(
            f"naive_error: season must be from 1 to {known.shape[-1] - 1}, got {season}"
        )
    change = known[..., season:] - known[..., :-season]
    return (jnp.abs(change) ** power).mean(-1) ** (1 / power)


@compiled("reduction")
def relative_norm(
    predictions: Real[ArrayLike, "*batch features"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    where: Bool[ArrayLike, "*#batch"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Length of the error of each vector as a fraction of the length of the target.

    .. math::
        \ell = \frac{\|p - t\|}{\|t\|}

    Usual for fields that solve an equation, as with neural operators, so that weak ones count as
    much as strong ones: flatten each to one vector. A target of length 0 does not count. The
    unreduced shape is ``*batch``.

    Args:
        where, weights, reduction: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> relative_norm(jnp.array([3.0, 5.0]), jnp.array([3.0, 4.0]))
        Array(0.2, dtype=float32)

    Reference:
        Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", 2021.
    """
    name = "relative_norm"
    require_rank(name, 1, wanted="rows of features", predictions=predictions)
    predicted, actual = same_shape(name, predictions=predictions, targets=targets)
    selected = selection(name, where, predicted.shape[:-1])
    error, actual = masked(predicted - actual, selected), masked(actual, selected)
    length = norm(actual)
    defined = length != 0
    loss = norm(masked(error, defined)) / jnp.where(defined, length, 1)
    return reduce(name, loss, defined, weights, reduction)


@compiled("reduction")
def pearson_distance(
    predictions: Real[ArrayLike, "*batch features"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    where: Bool[ArrayLike, "*#batch #features"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus the correlation of predictions and targets along the last axis.

    .. math::
        \ell = 1 - \frac{\sum_i (p_i - \bar p)(t_i - \bar t)}
            {\sqrt{\sum_i (p_i - \bar p)^2 \sum_i (t_i - \bar t)^2}}

    From 0 to 2. Neither offset nor positive factor of the predictions matters; where they shall,
    see :func:`concordance_distance`. Constant predictions or targets have no correlation: their
    distance is 1 and their gradient 0. The unreduced shape is ``*batch``.

    Args:
        where: the elements that are correlated. A row without any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on rows.

    Example:
        >>> distance = pearson_distance(jnp.array([1.0, 2.0, 3.0]), jnp.array([10.0, 30.0, 20.0]))
        >>> round(float(distance), 6)
        0.5

    Reference:
        Pearson, "Mathematical Contributions to the Theory of Evolution. III", 1896.
    """
    name = "pearson_distance"
    predicted, actual, selected = _rows(name, predictions, targets, where)
    predicted = normalized(_centered(predicted, selected))
    actual = normalized(_centered(actual, selected))
    # Half the squared chord is one minus the cosine, without its cancellation.
    chord = predicted - actual
    defined = (predicted != 0).any(-1) & (actual != 0).any(-1)
    loss = jnp.where(defined, (chord * chord).sum(-1) / 2, 1)
    return reduce(name, loss, _any(selected), weights, reduction)


@compiled("reduction")
def concordance_distance(
    predictions: Real[ArrayLike, "*batch features"],
    targets: Real[ArrayLike, "*batch features"],
    *,
    where: Bool[ArrayLike, "*#batch #features"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""One minus how well predictions and targets, along the last axis, lie on the diagonal.

    .. math::
        \ell = 1 - \frac{2 \sigma_{pt}}{\sigma_p^2 + \sigma_t^2 + (\bar p - \bar t)^2}
             = \frac{\overline{(p - t)^2}}{\sigma_p^2 + \sigma_t^2 + (\bar p - \bar t)^2}

    From 0 to 2, with :math:`\sigma^2` and :math:`\sigma_{pt}` means over the row: the squared
    error, in units of what it is for unrelated rows. Unlike :func:`pearson_distance` it punishes
    offset and factor. Two equal constants have distance 0 and gradient 0. The unreduced shape is
    ``*batch``.

    Args:
        where: the elements that are compared. A row without any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on rows.

    Example:
        >>> concordance_distance(jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0, 3.0, 4.0]))
        Array(0.42857...

    Reference:
        Lin, "A Concordance Correlation Coefficient to Evaluate Reproducibility", 1989.
    """
    name = "concordance_distance"
    predicted, actual, selected = _rows(name, predictions, targets, where)
    error = predicted - actual
    spread = _centered(predicted, selected), _centered(actual, selected)
    # Squares overflow from 1e20 on: divided by a power of two, the quotient is the same.
    largest = jnp.maximum(jnp.abs(error), jnp.maximum(*map(jnp.abs, spread))).max(-1, keepdims=True)
    unit = magnitude(largest)
    error, first, second = error / unit, spread[0] / unit, spread[1] / unit
    offset = _mean(error, selected)
    apart = _mean(error * error, selected)
    whole = _mean(first * first + second * second, selected) + offset * offset
    loss = (apart / jnp.where(whole == 0, 1, whole)).squeeze(-1)
    return reduce(name, loss, _any(selected), weights, reduction)


def _rows(
    name: str,
    predictions: Real[ArrayLike, "*batch features"],
    targets: Real[ArrayLike, "*batch features"],
    where: Bool[ArrayLike, "*#batch #features"] | None,
) -> tuple[Float[Array, "*batch features"], Float[Array, "*batch features"], Array | None]:
    """Predictions and targets, zero where ``where`` is false, and ``where`` in full."""
    require_rank(name, 1, wanted="rows of numbers", predictions=predictions)
    predicted, actual = same_shape(name, predictions=predictions, targets=targets)
    selected = selection(name, where, predicted.shape)
    return masked(predicted, selected), masked(actual, selected), selected


def _scaled(
    name: str, predictions: ArrayLike, targets: ArrayLike, scales: ArrayLike, where: Any
) -> tuple[Float[Array, "*shape"], Bool[Array, "*shape"]]:
    """The error in units of the scale, and where that is not 0."""
    predicted, actual, scale = same_shape(
        name, predictions=predictions, targets=targets, scales=scales
    )
    selected = selection(name, where, predicted.shape)
    error, scale = masked(predicted - actual, selected), masked(scale, selected)
    scale = check_not_negative(name, "scales", scale)
    defined = scale != 0
    return jnp.where(defined, error, 0) / jnp.where(defined, scale, 1), defined


def _any(selected: Bool[Array, "*batch features"] | None) -> Bool[Array, "*batch"] | None:
    return None if selected is None else selected.any(-1)


def _mean(x: Float[Array, "*batch features"], selected: Array | None) -> Float[Array, "*batch 1"]:
    """The mean of each row over what is selected; 0 if nothing is."""
    if selected is None:
        return x.mean(-1, keepdims=True)
    count = jnp.maximum(selected.sum(-1, keepdims=True), 1)
    return masked(x, selected).sum(-1, keepdims=True) / count.astype(x.dtype)


def _centered(
    x: Float[Array, "*batch features"], selected: Array | None
) -> Float[Array, "*batch features"]:
    """Each row minus its mean, exactly zero if it is constant."""
    some = jnp.ones_like(x, bool) if selected is None else selected
    first = jnp.take_along_axis(x, some.argmax(-1, keepdims=True), -1)
    # No mean is subtracted that is off by the rounding of a large sum: the row starts at zero.
    moved = masked(x - jax.lax.stop_gradient(first), selected)
    return masked(moved - _mean(moved, selected), selected)
