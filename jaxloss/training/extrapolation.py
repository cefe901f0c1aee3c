r"""Curves that explain a run so far, and what they say of the time to come.

A loss falls like a sum of exponentials, like a power of time, or like both, towards a level that it
need not reach. Which of these it is, noise leaves open; and the answer decides what there is to
gain. So nothing is decided: every model counts by how well it explains the run.

With :math:`u` the share of the run, the dictionary holds five exponentials :math:`e^{-u/\tau}`,
from fast to slow, and four slow curves: the line :math:`-u`, the logarithm :math:`-\log u`, and
:math:`u^{-1/2}` and :math:`u^{-1}`. They make five chains: the exponentials and then the line, or
one slow curve and then the exponentials. Every beginning of a chain is a model, and so is the
constant. With coefficients that are normal beforehand, the evidence for all beginnings of a chain
and what they forecast come from one QR decomposition.

A loss may also swing, as under a cyclic learning rate. If what the curves leave over does, then its
period, of which there must have been three, and half of it are projected out of everything, and
what is left is looked at again.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float

from jaxloss.core.inputs import Scalar
from jaxloss.training.history import BlockHistory

DECAY_TIMES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
CHAINS = np.array([(0, 1, 2, 3, 4, 5), *((slow, 0, 1, 2, 3, 4) for slow in (5, 6, 7, 8))])
"""Which curves of the dictionary follow each other; 5 to 8 are the slow ones."""
SHARES = np.array([1 / 2, 1 / 8, 1 / 8, 1 / 8, 1 / 8]) / CHAINS.shape[1]
"""How probable each model of a chain is beforehand, where the constant has 1."""
AMPLITUDE = 0.5
"""Standard deviation of a coefficient beforehand, as a share of the descent."""
SLOW_GAIN = 3.0
"""Of a slow curve that begins a chain instead: in margins that it would yet gain."""
STARTS = (0.03, 0.4)
"""Where to begin: all of the run but its very first; or, if that defies explanation, its end."""
CORRELATED = (0.6, 0.3)
"""What is left over is no noise if neighbors correlate more than that, for each of the starts."""
SWINGING = (3.0, 2.4)
"""Nor if an autocorrelation lies that many standard errors below zero: that is a cycle."""
PERIODS = np.arange(3, 28, 1 / 8)
"""How many there may be of it: fewer might be a bend, and more have no three blocks each."""
IMMATERIAL = 0.25
"""But what is left over does not matter if it deviates by less than that many margins."""
CLIP = 3.0
"""Robust standard deviations to which what is left over is clipped."""
NORMAL = 1.4826
"""Standard deviation of a normal distribution whose median distance from its median is 1."""
ROUNDING = 1e-6
"""Of the size of the values: less noise than that cannot be told from rounding."""
TINY = 1e-12


class Outlook(NamedTuple):
    """What the rest of a run may bring."""

    risk: Float[Array, ""]
    """the probability that the loss would yet fall by more than the margin"""
    gain: Float[Array, ""]
    """by how much it may be expected to fall"""
    margin: Float[Array, ""]
    """the gain that would be worth it"""
    fallen: Float[Array, ""]
    """by how much it has fallen since the beginning"""
    trusted: Bool[Array, ""]
    """whether what the curves do not explain looks like noise"""


class Remainder(NamedTuple):
    """What the likeliest model leaves over."""

    deviation: Float[Array, ""]
    """its standard deviation"""
    error: Float[Array, ""]
    """the standard deviation that independent blocks would have, were their means as uncertain"""
    correlation: Float[Array, ""]
    """of neighbors"""
    swing: Float[Array, ""]
    """the lowest autocorrelation, in standard errors"""


class Models(NamedTuple):
    """The models of all chains after each other, and the constant before them."""

    log_evidence: Float[Array, " models"]
    gain: Float[Array, " models"]
    """what each expects yet to be gained"""
    deviation: Float[Array, " models"]
    """standard deviation of that gain"""
    fit: Float[Array, " blocks"]
    """the curve of the likeliest"""
    curves: Float[Array, ""]
    """how many curves it is made of"""


def outlook(
    history: BlockHistory, ahead: Scalar, atol: Scalar, rtol: Scalar, resolution: Scalar
) -> Outlook:
    """Say what is left to gain if the run went on for ``ahead`` times as long as it has lasted.

    Args:
        history: at least 32 blocks.
        ahead: how far to look, as a share of the run so far.
        atol, rtol: the gain that would be worth it, ``atol + rtol * |level|``.
        resolution: how many standard errors of the mean of the last half it must have, too.
    """
    blocks = history.blocks.astype(jnp.float32)
    at = jnp.arange(history.means.size, dtype=jnp.int32).astype(jnp.float32)

    def look(start: Array, correlated: Array, swinging: Array) -> Outlook:
        first = jnp.maximum(jnp.ceil(start * blocks), 1)
        inside = ((at >= first) & (at < blocks)).astype(jnp.float32)
        count = blocks - first

        def centered(x: Float[Array, " blocks"]) -> Float[Array, " blocks"]:
            return inside * (x - (inside * x).sum() / count)

        # the curves fall by 1 from the first block inside to now, and by `further` in what follows
        ends = jnp.stack([(first + 0.5) / blocks, jnp.float32(1), 1 + jnp.float32(ahead)])
        begin, now, later = curves(ends).T
        further = (now - later) / (begin - now)
        dictionary = curves(jnp.where(inside > 0, (at + 0.5) / blocks, 1)) / (begin - now)[:, None]
        dictionary = jax.vmap(centered)(dictionary)

        values = inside * history.means
        size = jnp.maximum(jnp.abs(values).max(), TINY)

        def worth(level: Float[Array, ""]) -> Float[Array, ""]:
            wanted = jnp.float32(atol) + jnp.float32(rtol) * jnp.abs(level)
            return jnp.maximum(wanted, ROUNDING * size)

        quarter = jnp.floor(count / 4)
        level = jnp.where(at >= blocks - quarter, values, 0).sum() / quarter
        beginning = history.means[:2].mean()
        margin = worth(level)
        amplitude = AMPLITUDE * jnp.maximum(beginning - level, 5 * margin)
        change = jnp.where(inside[1:] * inside[:-1] > 0, jnp.diff(values), jnp.nan)
        error = jnp.nanmedian(jnp.abs(change)) * NORMAL / math.sqrt(2)

        # once with all values, which tells the outliers, the noise and the cycle, and once without
        def refine(carry: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], Any]:
            clean, error, margin, cycle = carry
            error = jnp.maximum(error, ROUNDING * size)
            mean = (inside * clean).sum() / count
            steady, bent = without(cycle, centered(clean)[None])[0], without(cycle, dictionary)
            models = explanations(steady, error, bent, further, amplitude, margin)
            rest = clipped(inside * (values - mean - models.fit), inside)
            swings = judged(centered(rest), count, models.curves).swing < -swinging
            cycle = jnp.where(swings, jax.vmap(centered)(periodic(centered(rest), count)), 0)
            used = models.curves + jnp.where(swings, 5, 0)
            remainder = judged(without(cycle, centered(rest)[None])[0], count, used)
            level = mean + models.fit[history.blocks - 1]
            margin = jnp.maximum(worth(level), resolution * remainder.error / jnp.sqrt(count / 2))
            clean = inside * (mean + models.fit + rest)
            return (clean, remainder.error, margin, cycle), (models, remainder, level)

        carry = values, error, margin, jnp.zeros((4, values.size), jnp.float32)
        (_, _, margin, _), found = jax.lax.scan(refine, carry, length=2)
        models, remainder, level = jax.tree.map(lambda x: x[-1], found)
        risk, gain = risk_of(models, margin)
        noise = (remainder.correlation < correlated) & (remainder.swing > -swinging)
        trusted = noise | (remainder.deviation < IMMATERIAL * worth(level))
        return Outlook(risk, gain, margin, beginning - level, trusted)

    limits = [jnp.array(each, jnp.float32) for each in (STARTS, CORRELATED, SWINGING)]
    looks = jax.vmap(look)(*limits)
    return jax.tree.map(lambda x: jnp.where(looks.trusted[0], x[0], x[1]), looks)


def curves(u: Float[Array, " shares"]) -> Float[Array, "curves shares"]:
    """The dictionary at the shares ``u`` of the run; every curve falls."""
    decays = [jnp.exp(-u / time) for time in DECAY_TIMES]
    return jnp.stack([*decays, -u, -jnp.log(u), u**-0.5, 1 / u])


def periodic(
    rest: Float[Array, " blocks"], count: Float[Array, ""]
) -> Float[Array, "waves blocks"]:
    """Cosine and sine of the strongest period of ``rest``, and of half of it."""
    at = jnp.arange(rest.size, dtype=jnp.int32).astype(jnp.float32)
    turns = jnp.asarray(PERIODS, jnp.float32) / count
    angles = 2 * jnp.pi * turns[:, None] * at[None]
    power = (jnp.cos(angles) * rest[None]).sum(1) ** 2 + (jnp.sin(angles) * rest[None]).sum(1) ** 2
    peak = jnp.argmax(jnp.where(turns < 0.45, power, 0).at[jnp.array([0, -1])].set(0))
    # the top of the parabola through the highest three
    left, top, right = power[peak - 1], power[peak], power[peak + 1]
    bend = left - 2 * top + right
    aside = jnp.where(bend < 0, (left - right) / jnp.where(bend < 0, 2 * bend, 1), 0)
    step = (turns[1] - turns[0]) * jnp.clip(aside, -1, 1)
    angle = 2 * jnp.pi * (turns[peak] + step) * at
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), jnp.cos(2 * angle), jnp.sin(2 * angle)])


def without(
    waves: Float[Array, "waves blocks"], rows: Float[Array, "rows blocks"]
) -> Float[Array, "rows blocks"]:
    """Each row with the best fit by ``waves`` taken out; all of it if they are zero."""
    products = jnp.matmul(waves, waves.T, precision="highest")
    along = jnp.matmul(waves, rows.T, precision="highest")
    shares = jnp.linalg.solve(products + 1e-3 * jnp.eye(len(waves), dtype=jnp.float32), along)
    return rows - jnp.matmul(shares.T, waves, precision="highest")


def explanations(
    values: Float[Array, " blocks"],
    error: Float[Array, ""],
    dictionary: Float[Array, "curves blocks"],
    further: Float[Array, " curves"],
    amplitude: Float[Array, ""],
    margin: Float[Array, ""],
) -> Models:
    r"""How well each model explains ``values``, and what it expects.

    The coefficients of a chain with curves :math:`X` have the prior deviations :math:`\kappa`. With
    :math:`QR` the decomposition of :math:`[X/s;\, 1/\kappa]`, the first k columns of :math:`Q` and
    of :math:`R` are those of the first k curves, so that running sums tell of all beginnings.
    """
    length = CHAINS.shape[1]
    deviations = jnp.full(CHAINS.shape, amplitude)
    deviations = deviations.at[1:, 0].set(SLOW_GAIN * margin / further[CHAINS[1:, 0]])

    def beginnings(
        curves: Float[Array, "length blocks"],
        further: Float[Array, " length"],
        deviations: Float[Array, " length"],
    ) -> tuple[Array, ...]:
        q, r = jnp.linalg.qr(jnp.concatenate([curves.T / error, jnp.diag(1 / deviations)]))
        q = q[: values.size].T
        along = (q * (values / error)[None]).sum(1)
        ahead = solve_triangular(r, further, trans=1)
        fits = error * jnp.cumsum(q * along[:, None], 0)
        log_evidence = along**2 / 2 - jnp.log(jnp.abs(jnp.diagonal(r)) * deviations)
        return *jnp.cumsum(jnp.stack([log_evidence, along * ahead, ahead**2]), 1), fits

    found = jax.vmap(beginnings)(dictionary[CHAINS], further[CHAINS], deviations)
    log_evidence, gain, variance, fits = jax.tree.map(
        lambda x: jnp.concatenate([jnp.zeros_like(x[0, :1]), x.reshape(-1, *x.shape[2:])]), found
    )
    log_evidence += jnp.log(jnp.array([1.0, *np.repeat(SHARES, length)], jnp.float32))
    best = jnp.argmax(log_evidence)
    curves = jnp.where(best == 0, 0, (best - 1) % length + 1).astype(jnp.float32)
    return Models(log_evidence, gain, jnp.sqrt(variance), fits[best], curves)


def risk_of(models: Models, margin: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The probability of a gain of more than ``margin``, and the expected gain.

    That the loss will not rise is known beforehand: each gain is a normal one above zero.
    """
    deviation = jnp.maximum(models.deviation, TINY * margin)
    falls = ndtr(models.gain / deviation).at[0].set(0.5)
    weight = jax.nn.softmax(models.log_evidence + jnp.log(jnp.maximum(falls, 1e-30)))
    more = ndtr((models.gain - margin) / deviation)
    risk = jnp.minimum(more / jnp.maximum(falls, 1e-30), 1)
    return (weight * risk).sum(), (weight * jnp.maximum(models.gain, 0)).sum()


def clipped(
    rest: Float[Array, " blocks"], inside: Float[Array, " blocks"]
) -> Float[Array, " blocks"]:
    """``rest`` without outliers, where it is inside."""
    seen = jnp.where(inside > 0, rest, jnp.nan)
    middle = jnp.nanmedian(seen)
    reach = CLIP * NORMAL * jnp.nanmedian(jnp.abs(seen - middle))
    return inside * jnp.clip(rest, middle - reach, middle + reach)


def judged(
    rest: Float[Array, " blocks"], count: Float[Array, ""], curves: Float[Array, ""]
) -> Remainder:
    """How much there is left over of ``count`` blocks, and whether it is noise."""
    lags = jnp.arange(1, rest.size // 3 + 1, dtype=jnp.int32)
    at = jnp.arange(rest.size, dtype=jnp.int32)
    padded = jnp.concatenate([rest, jnp.zeros(rest.size, jnp.float32)])
    squares = (rest**2).sum()
    products = (padded[at[None] + lags[:, None]] * rest[None]).sum(1)
    autocorrelation = products / jnp.where(squares == 0, 1, squares)
    used = jnp.where(lags.astype(jnp.float32) <= count / 3, autocorrelation, 0)
    # the curves have been fitted, which makes neighbors look less alike than they are
    correlation = jnp.clip(autocorrelation[0] + (1 + curves) / count, 0, 0.9)
    deviation = jnp.sqrt(squares / jnp.maximum(count - 1 - curves, 1))
    error = deviation * jnp.sqrt((1 + correlation) / (1 - correlation))
    return Remainder(deviation, error, correlation, used.min() * jnp.sqrt(count))
