"""Losses of training runs that were never run: their mean is known, and with it when to stop.

The tuning set is what the criteria were made on. The held-out set draws every parameter anew for
every run, from wide ranges, and was run after that.
"""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import optax
from scipy.signal import lfilter

STEPS = 50_000
BLOCK = 50
"""Steps whose mean the rules are shown."""
TIME = np.arange(STEPS, dtype=float)
TOLERANCE = 0.01
"""The share of the loss that is worth going on for."""


class Draw(NamedTuple):
    """The loss of one run without noise, its noise, and what was known beforehand."""

    mean: np.ndarray
    noise: np.ndarray
    schedule: optax.Schedule | None = None


class Family(NamedTuple):
    """A way to draw runs."""

    name: str
    kind: str
    """``descending``, ``flat`` or ``rising``"""
    draw: Callable[[np.random.Generator], Draw]


class Runs(NamedTuple):
    """Many runs of a family, each a row."""

    name: str
    kind: str
    values: np.ndarray
    """means of blocks"""
    over: np.ndarray
    """at the end of each block: the gain to come over the best so far, in tolerances"""
    over_double: np.ndarray
    """the same, were the run to end when it is twice as long"""
    converged: np.ndarray
    """the step from which the gain to come is less than the tolerance"""
    rates: np.ndarray
    """the learning rate during each block"""
    stride: int = BLOCK
    """steps to a block"""


def simulate(family: Family, runs: int, seed: int) -> Runs:
    """Draw runs and work out when each of them should have stopped."""
    values, over, double, converged, rates = [], [], [], [], []
    for number in range(runs):
        generator = np.random.default_rng([seed, zlib.crc32(family.name.encode()), number])
        draw = family.draw(generator)
        values.append((draw.mean + draw.noise).reshape(-1, BLOCK).mean(1))
        measured = truth(draw.mean)
        over.append(measured[0][BLOCK - 1 :: BLOCK])
        double.append(measured[1][BLOCK - 1 :: BLOCK])
        converged.append(measured[2])
        rates.append(rates_of(draw.schedule))
    return Runs(
        family.name,
        family.kind,
        np.array(values, np.float32),
        np.array(over),
        np.array(double),
        np.array(converged),
        np.array(rates, np.float32),
    )


def truth(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """The gain to come in tolerances, up to the end and up to twice as far, and when it is small.

    It is counted from the best so far, which one can keep: a loss that swings has converged when
    its low points have. Twice as far is looked at the ends of blocks only, and holds in between.
    """
    best = np.minimum.accumulate(mean)
    tolerance = TOLERANCE * np.abs(best)
    over = (best - best[-1]) / tolerance
    ends = range(BLOCK - 1, len(mean), BLOCK)
    double = [(best[end] - best[: 2 * end + 2][-1]) / tolerance[end] for end in ends]
    small = over < 1
    return over, np.repeat(double, BLOCK), int(small.argmax()) if small.any() else len(mean)


def rates_of(schedule: optax.Schedule | None) -> np.ndarray:
    """The learning rate at the beginning of each block."""
    begins = np.arange(0, STEPS, BLOCK)
    return np.ones(len(begins)) if schedule is None else np.asarray(schedule(begins))


def gaussian(scale: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Independent noise."""
    return lambda generator: scale * generator.normal(size=STEPS)


def correlated(scale: float, rho: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Noise that forgets itself slowly."""
    share = np.sqrt(1 - rho**2)

    def noise(generator: np.random.Generator) -> np.ndarray:
        return scale * np.asarray(lfilter([share], [1, -rho], generator.normal(size=STEPS)))

    return noise


def student(scale: float, degrees: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Noise with heavy tails."""
    return lambda generator: scale * generator.standard_t(degrees, size=STEPS)


def lognormal(scale: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Noise that is skewed."""
    return lambda generator: scale * (np.exp(generator.normal(size=STEPS)) - np.exp(0.5))


def growing(first: float, last: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Noise whose scale changes."""
    scale = first + (last - first) * TIME / STEPS
    return lambda generator: scale * generator.normal(size=STEPS)


def with_spikes(generator: np.random.Generator) -> np.ndarray:
    """Noise, and twelve times in a run a jump that decays."""
    noise = 0.3 * generator.normal(size=STEPS)
    for start in generator.integers(3000, STEPS - 100, 12):
        noise[start : start + 30] += 5 * np.exp(-np.arange(30) / 10)
    return noise


def walk(generator: np.random.Generator) -> np.ndarray:
    """A random walk without drift."""
    steps = 5e-4 * generator.normal(size=STEPS)
    return 0.2 * generator.normal(size=STEPS) + np.cumsum(steps)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """From 0 to 1."""
    return 1 / (1 + np.exp(-x))


def power(level: float, height: float, offset: float, exponent: float) -> np.ndarray:
    """A power of time."""
    return level + height * (1 + TIME / offset) ** -exponent


def exponential(level: float, height: float, time: float) -> np.ndarray:
    """An exponential."""
    return level + height * np.exp(-TIME / time)


def cut(level: float, height: float, time: float, at: int, gain: float, fast: float) -> np.ndarray:
    """An exponential that falls by ``gain`` more once the learning rate is cut."""
    later = gain * (1 - np.exp(-np.maximum(TIME - at, 0) / fast))
    return exponential(level, height, time) - later


def fixed(
    mean: np.ndarray,
    noise: Callable[[np.random.Generator], np.ndarray],
    schedule: optax.Schedule | None = None,
) -> Callable[[np.random.Generator], Draw]:
    """The same mean every time."""
    return lambda generator: Draw(mean, noise(generator), schedule)


def cut_at(step: int) -> optax.Schedule:
    """A learning rate that falls to a tenth."""
    return optax.piecewise_constant_schedule(0.1, {step: 0.1})


def diverging(mean: np.ndarray, at: int, rise: np.ndarray) -> np.ndarray:
    """``mean`` up to a step, and its value there and ``rise`` after."""
    return np.where(at > TIME, mean, mean[at] + rise)


SINCE_12K = np.maximum(TIME - 12_000, 0)
TUNING = [
    Family("power 0.5", "descending", fixed(power(2, 3, 20, 0.5), gaussian(0.3))),
    Family("power 0.3", "descending", fixed(power(1.5, 4, 10, 0.3), gaussian(0.3))),
    Family("power 0.8", "descending", fixed(power(0.5, 2, 100, 0.8), gaussian(0.1))),
    Family("power, loud", "descending", fixed(power(3, 5, 50, 0.5), gaussian(0.6))),
    Family("logarithm", "descending", fixed(6 - 0.4 * np.log1p(TIME / 50), gaussian(0.3))),
    Family("line", "descending", fixed(3 - 2e-5 * TIME, gaussian(0.3))),
    Family("slow line", "descending", fixed(3 - 1e-5 * TIME, gaussian(0.2))),
    Family("exponential", "descending", fixed(exponential(2, 3, 2000), gaussian(0.3))),
    Family("exponential, loud", "descending", fixed(exponential(1, 2, 800), gaussian(0.6))),
    Family("exponential, slow", "descending", fixed(exponential(4, 3, 5000), gaussian(0.1))),
    Family(
        "two exponentials",
        "descending",
        fixed(exponential(2, 2, 500) + exponential(0, 0.5, 8000), gaussian(0.2)),
    ),
    Family("correlated 0.9", "descending", fixed(exponential(2, 3, 2500), correlated(0.3, 0.9))),
    Family("correlated 0.98", "descending", fixed(exponential(2, 3, 2000), correlated(0.3, 0.98))),
    Family(
        "correlated 0.995", "descending", fixed(exponential(2, 3, 2500), correlated(0.2, 0.995))
    ),
    Family("tails 2", "descending", fixed(exponential(2, 3, 2500), student(0.15, 2))),
    Family("tails 1.5", "descending", fixed(exponential(2, 3, 2000), student(0.1, 1.5))),
    Family("skewed", "descending", fixed(exponential(2, 3, 2500), lognormal(0.2))),
    Family("growing noise", "descending", fixed(exponential(2, 3, 2500), growing(0.05, 0.55))),
    Family("spikes", "descending", fixed(exponential(2, 3, 2000), with_spikes)),
    Family(
        "cycle 1500",
        "descending",
        fixed(exponential(2, 3, 3000) + 0.1 * np.sin(2 * np.pi * TIME / 1500), gaussian(0.2)),
    ),
    Family(
        "cycle 4000",
        "descending",
        fixed(
            exponential(2, 3, 4000) + 0.15 * (1 - np.cos(2 * np.pi * TIME / 4000)), gaussian(0.3)
        ),
    ),
    Family(
        "cycle 9000",
        "descending",
        fixed(exponential(2, 3, 6000) + 0.2 * np.sin(2 * np.pi * TIME / 9000), gaussian(0.2)),
    ),
    Family(
        "plateau, then drop",
        "descending",
        fixed(exponential(2, 3, 500) + sigmoid((15_000 - TIME) / 300), gaussian(0.3)),
    ),
    Family(
        "rate cut at 20k",
        "descending",
        fixed(cut(2.4, 2.6, 1500, 20_000, 0.4, 500), gaussian(0.3), cut_at(20_000)),
    ),
    Family(
        "rate cut at 30k",
        "descending",
        fixed(cut(2.2, 2, 2500, 30_000, 0.3, 600), gaussian(0.2), cut_at(30_000)),
    ),
    Family("flat", "flat", fixed(0 * TIME + 2, gaussian(0.3))),
    Family("flat, loud", "flat", fixed(0 * TIME + 3, gaussian(1.0))),
    Family("flat, correlated", "flat", fixed(0 * TIME + 2, correlated(0.3, 0.98))),
    Family("random walk", "flat", fixed(0 * TIME + 2, walk)),
    Family(
        "rising from 12k",
        "rising",
        fixed(diverging(exponential(2, 3, 2000), 12_000, 1e-4 * SINCE_12K), gaussian(0.3)),
    ),
    Family(
        "exploding from 12k",
        "rising",
        fixed(
            diverging(
                exponential(2, 3, 2000),
                12_000,
                np.minimum(6, 0.0075 * np.exp(np.minimum(SINCE_12K / 150, 20))),
            ),
            gaussian(0.3),
        ),
    ),
]
