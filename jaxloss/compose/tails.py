"""Reductions that look at the hardest examples, or away from them, for any unreduced loss.

Each takes what a loss returns with ``reduction="none"`` and no weights, and returns one number:
``cvar(regression.huber(predictions, targets, reduction="none"), share=0.1)``.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from jaxloss.core.checks import check_positive, check_unit_interval
from jaxloss.core.inputs import Scalar, at_least_float32
from jaxloss.core.reducing import weighed
from jaxloss.core.summing import total


def cvar(
    losses: Float[Array, "*shape"],
    *,
    share: Scalar = 0.1,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> Float[Array, ""]:
    r"""Mean over the worst share of the losses.

    .. math::
        L = \max_{0 \le v_i \le w_i} \frac{\sum_i v_i \ell_i}{\sum_i v_i},
        \qquad \sum_i v_i = s \sum_i w_i

    Conditional value at risk, or expected shortfall. An element at the edge of the share counts
    in part, so the result is continuous in everything; a share of 1 gives the mean.

    Args:
        share: :math:`s`, of the total weight; in (0, 1].
        where, weights: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> cvar(jnp.array([1.0, 2.0, 3.0, 4.0]), share=0.375)  # all of 4 and half of 3
        Array(3.6666667, dtype=float32)

    Reference:
        Rockafellar and Uryasev, "Optimization of Conditional Value-at-Risk", 2000.
    """
    share = check_positive("cvar", "share", check_unit_interval("cvar", "share", _number(share)))
    loss, weight, above = _ranked("cvar", losses, where, weights)
    counted = jnp.clip(share * weight.sum() - above, 0, weight)
    return _mean(loss, counted)


def trimmed_mean(
    losses: Float[Array, "*shape"],
    *,
    share: Scalar = 0.1,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> Float[Array, ""]:
    r"""Mean over all but the worst share of the losses.

    .. math::
        L = \min_{0 \le v_i \le w_i} \frac{\sum_i v_i \ell_i}{\sum_i v_i},
        \qquad \sum_i v_i = (1 - s) \sum_i w_i

    Least trimmed squares, for any loss: what is most likely mislabeled or an outlier is left out.
    The counterpart of :func:`cvar`; a share of 0 gives the mean.

    Args:
        share: :math:`s`, of the total weight, that is left out; in [0, 1).
        where, weights: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> trimmed_mean(jnp.array([1.0, 2.0, 3.0, 90.0]), share=0.25)
        Array(2., dtype=float32)

    Reference:
        Rousseeuw, "Least Median of Squares Regression", 1984.
    """
    share = check_unit_interval("trimmed_mean", "share", _number(share))
    loss, weight, above = _ranked("trimmed_mean", losses, where, weights)
    dropped = jnp.clip(share * weight.sum() - above, 0, weight)
    return _mean(loss, weight - dropped)


def hard_mean(
    losses: Float[Array, "*shape"],
    *,
    threshold: Scalar,
    least: int = 1,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> Float[Array, ""]:
    r"""Mean over the losses above a threshold, and over at least so many of the largest.

    .. math::
        L = \frac{\sum_{i \in H} w_i \ell_i}{\sum_{i \in H} w_i},
        \qquad H = \{ i : \ell_i > \theta \text{ or } \ell_i \text{ among the } k \text{ largest} \}

    Online hard example mining. With a threshold of ``jnp.inf``, the mean of the ``least`` largest;
    with one below all losses, or ``least`` as many as there are, the mean.

    Args:
        threshold: :math:`\theta`; of a cross-entropy, ``-log`` of the probability of the label
            below which an example is hard.
        least: :math:`k`, how many are kept, whatever their loss; ties go to the first.
        where, weights: see :func:`jaxloss.core.reducing.reduce`. An element that is left out, or
            whose weight is 0, is none of the largest.

    Example:
        >>> hard_mean(jnp.array([0.1, 5.0, 2.0, 0.3]), threshold=4.0, least=2)
        Array(3.5, dtype=float32)

    Reference:
        Shrivastava et al., "Training Region-Based Object Detectors with Online Hard Example
        Mining", 2016.
    """
    if least < 0:
        raise ValueError(f"hard_mean: least must not be negative, got {least}")
    loss, weight, _ = _ranked("hard_mean", losses, where, weights)
    hard = (loss > threshold) | (jnp.arange(loss.size) < least)
    return _mean(loss, jnp.where(hard, weight, 0))


def tilted(
    losses: Float[Array, "*shape"],
    *,
    tilt: Scalar,
    where: Bool[ArrayLike, "*#shape"] | None = None,
    weights: Real[ArrayLike, "*#shape"] | None = None,
) -> Float[Array, ""]:
    r"""Mean of the losses that leans towards the largest of them, or the smallest.

    .. math::
        L = \frac1t \log \frac{\sum_i w_i e^{t \ell_i}}{\sum_i w_i}

    From the smallest loss, as the tilt goes to minus infinity, over the mean at 0 to the largest. A
    positive tilt evens out what examples lose, a negative one ignores outliers.

    Args:
        tilt: :math:`t`, any finite number; in units of one over the loss.
        where, weights: see :func:`jaxloss.core.reducing.reduce`.

    Example:
        >>> losses = jnp.array([0.0, 1.0])
        >>> tilted(losses, tilt=0.0), tilted(losses, tilt=100.0)
        (Array(0.5, dtype=float32), Array(0.9930..., dtype=float32))

    Reference:
        Li et al., "Tilted Empirical Risk Minimization", 2021.
    """
    loss, weight = weighed("tilted", at_least_float32(losses), where, weights)
    tilt, exists = _number(tilt).astype(loss.dtype), weight > 0
    middle = jax.lax.stop_gradient(_mean(loss, weight))
    x = jnp.where(exists, tilt * (loss - middle), 0)
    largest = jax.lax.stop_gradient(x.max(initial=-jnp.inf, where=exists))
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    mass = total(weight)
    portion = weight / jnp.where(mass == 0, 1, mass)
    # A small logarithm is that of one plus something, and a tiny one the series of its cumulants,
    # which goes through a tilt of 0.
    spread = jax.lax.stop_gradient(jnp.where(exists, jnp.abs(x), 0).max(initial=0))
    tiny, small = spread < 1e-3, spread < 1
    mean = _mean(loss, weight)
    deviation = loss - mean
    second, third, fourth = (total(portion * deviation**k) for k in (2, 3, 4))
    fourth = fourth - 3 * second * second
    series = tilt * (second / 2 + tilt * (third / 6 + tilt * fourth / 24))
    gain = jnp.log1p(total(portion * jnp.expm1(jnp.where(small, x, 0))))
    scaled = total(portion * jnp.where(exists, jnp.exp(x - largest), 0))
    far = jnp.log(jnp.where(small, 1, scaled)) + jnp.where(small, 0, largest)
    logarithm = jnp.where(small, gain, far)
    return jnp.where(tiny, mean + series, middle + logarithm / jnp.where(tiny, 1, tilt))


def _ranked(
    name: str,
    losses: Float[Array, "*shape"],
    where: Bool[ArrayLike, "*#shape"] | None,
    weights: Real[ArrayLike, "*#shape"] | None,
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
    """Losses, largest first; their weights; and the weight of all before each of them."""
    loss, weight = (x.reshape(-1) for x in weighed(name, at_least_float32(losses), where, weights))
    key = jax.lax.stop_gradient(jnp.where(weight > 0, -loss, jnp.inf))
    order = jnp.argsort(key, stable=True)
    loss, weight = loss[order], weight[order]
    return loss, weight, jnp.cumsum(weight) - weight


def _mean(loss: Float[Array, "*shape"], weight: Float[Array, "*shape"]) -> Float[Array, ""]:
    mass = total(weight)
    return total(weight * loss) / jnp.where(mass == 0, 1, mass)


def _number(value: Scalar) -> Float[Array, ""]:
    return at_least_float32(jnp.asarray(value))
