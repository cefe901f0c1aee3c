"""The held-out set: every run has a mean and a noise of its own."""

from typing import NamedTuple

import numpy as np
import optax

from benchmarks.curves import (
    STEPS,
    TIME,
    Draw,
    Family,
    correlated,
    cut,
    cut_at,
    diverging,
    exponential,
    gaussian,
    growing,
    lognormal,
    power,
    sigmoid,
    student,
    walk,
)

Generator = np.random.Generator


def between(generator: Generator, low: float, high: float) -> float:
    """Log-uniform."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def level_and_height(generator: Generator) -> tuple[float, float]:
    """Where a loss ends, and how far above it begins."""
    return generator.uniform(0.5, 4), generator.uniform(1, 5)


def quiet(generator: Generator, mean: np.ndarray) -> Draw:
    """With independent noise."""
    return Draw(mean, gaussian(between(generator, 0.05, 0.5))(generator))


def decay(generator: Generator) -> np.ndarray:
    """Some exponential."""
    return exponential(*level_and_height(generator), between(generator, 400, 5000))


def powers(generator: Generator) -> Draw:
    """Some power of time."""
    offset, exponent = between(generator, 5, 300), generator.uniform(0.25, 1)
    return quiet(generator, power(*level_and_height(generator), offset, exponent))


def two_exponentials(generator: Generator) -> Draw:
    """A fast and a slow one."""
    level, height = level_and_height(generator)
    slow = generator.uniform(0.1, 1) * height
    mean = exponential(level, height, between(generator, 200, 1500))
    return quiet(generator, mean + exponential(0, slow, between(generator, 2000, 10_000)))


def stretched(generator: Generator) -> Draw:
    """Slower than any exponential, in the end."""
    level, height = level_and_height(generator)
    time, exponent = between(generator, 200, 4000), generator.uniform(0.4, 0.95)
    return quiet(generator, level + height * np.exp(-((TIME / time) ** exponent)))


def lines(generator: Generator) -> Draw:
    """Down by a tenth to a half."""
    level, _ = level_and_height(generator)
    return quiet(generator, level * (1 - generator.uniform(0.1, 0.5) * TIME / STEPS))


def logarithms(generator: Generator) -> Draw:
    """Ever slower, and never done."""
    level, height = level_and_height(generator)
    offset = between(generator, 20, 500)
    return quiet(generator, level + height * (1 - np.log1p(TIME / offset) / np.log1p(2500)))


class HiddenLine(NamedTuple):
    """An exponential, and a line that noise may hide."""

    level: float
    height: float
    time: float
    slope: float
    """by which the loss falls in each step, beside the exponential"""
    noise: float


def hidden_line(generator: Generator) -> HiddenLine:
    """Some exponential, and a line that takes a tenth to four tenths of the level with it."""
    level, height = level_and_height(generator)
    time = between(generator, 200, 2000)
    slope = level * generator.uniform(0.1, 0.4) / STEPS
    return HiddenLine(level, height, time, slope, between(generator, 0.05, 0.5))


def hidden_lines(generator: Generator) -> Draw:
    """With independent noise."""
    level, height, time, slope, noise = hidden_line(generator)
    mean = exponential(level, height, time) - slope * TIME
    return Draw(mean, gaussian(noise)(generator))


def cycles(generator: Generator) -> Draw:
    """An exponential that swings by 3 to 10 % either way."""
    level, height = level_and_height(generator)
    swing = level * generator.uniform(0.03, 0.1)
    angle = 2 * np.pi * (TIME / between(generator, 1000, 10_000) + generator.uniform())
    mean = exponential(level, height, between(generator, 500, 5000)) + swing * np.sin(angle)
    return Draw(mean, gaussian(between(generator, 0.05, 0.3))(generator))


def late_falls(generator: Generator) -> Draw:
    """Flat at first, then down along a sigmoid."""
    level, height = level_and_height(generator)
    width = between(generator, 300, 2000)
    start = generator.uniform(2, 6) * width
    return quiet(generator, level + height * sigmoid((start - TIME) / width))


def autocorrelated(generator: Generator) -> Draw:
    """Noise that lasts for up to a hundred steps."""
    noise = correlated(between(generator, 0.05, 0.3), generator.choice([0.7, 0.9, 0.97, 0.99]))
    return Draw(decay(generator), noise(generator))


def heavy(generator: Generator) -> Draw:
    """Noise without a variance, or nearly."""
    noise = student(between(generator, 0.05, 0.2), generator.uniform(1.6, 3))
    return Draw(decay(generator), noise(generator))


def skewed(generator: Generator) -> Draw:
    """Log-normal noise."""
    return Draw(decay(generator), lognormal(between(generator, 0.05, 0.3))(generator))


def changing(generator: Generator) -> Draw:
    """Noise that grows or dies down."""
    scales = between(generator, 0.03, 0.1), between(generator, 0.2, 0.6)
    noise = growing(*scales[:: generator.choice([-1, 1])])
    return Draw(decay(generator), noise(generator))


def plateaus(generator: Generator) -> Draw:
    """Flat for long, then suddenly down by a tenth to a third."""
    level, height = level_and_height(generator)
    mean = exponential(level, height, between(generator, 300, 800))
    at, width = generator.uniform(0.15, 0.35) * STEPS, between(generator, 100, 500)
    return quiet(
        generator, mean + generator.uniform(0.1, 0.33) * level * sigmoid((at - TIME) / width)
    )


def cuts(generator: Generator) -> Draw:
    """A cut of the learning rate, which gains 5 to 20 %."""
    level, height = level_and_height(generator)
    at = int(generator.uniform(0.3, 0.7) * STEPS)
    gain = level * generator.uniform(0.05, 0.2)
    times = between(generator, 500, 4000), between(generator, 300, 1000)
    mean = cut(level, height, times[0], at, gain, times[1])
    return Draw(mean, gaussian(between(generator, 0.05, 0.4))(generator), cut_at(at))


def cosines(generator: Generator) -> Draw:
    """A cosine schedule, whose loss falls with the learning rate."""
    level, height = level_and_height(generator)
    rate = optax.cosine_decay_schedule(1.0, STEPS)
    mean = exponential(level, height, between(generator, 500, 4000))
    mean += level * generator.uniform(0.05, 0.2) * np.asarray(rate(np.arange(STEPS)))
    return Draw(mean, gaussian(between(generator, 0.05, 0.4))(generator), rate)


def flats(generator: Generator) -> Draw:
    """Nothing happens."""
    level, _ = level_and_height(generator)
    return Draw(level + 0 * TIME, gaussian(between(generator, 0.05, 1))(generator))


def correlated_flats(generator: Generator) -> Draw:
    """Nothing happens, at length."""
    noise = correlated(between(generator, 0.05, 0.3), generator.choice([0.9, 0.97, 0.99]))
    return Draw(generator.uniform(1, 4) + 0 * TIME, noise(generator))


def walks(generator: Generator) -> Draw:
    """Random walks without drift."""
    return Draw(generator.uniform(1, 4) + 0 * TIME, between(generator, 0.3, 3) * walk(generator))


def slow_rises(generator: Generator) -> Draw:
    """From some step on the loss rises steadily, to twice what it was or more."""
    mean, at = decay(generator), int(generator.uniform(0.2, 0.4) * STEPS)
    rise = mean[at] * generator.uniform(1, 4) * np.maximum(TIME - at, 0) / STEPS
    return quiet(generator, diverging(mean, at, rise))


HELD_OUT = [
    Family("powers", "descending", powers),
    Family("exponentials", "descending", lambda g: quiet(g, decay(g))),
    Family("two exponentials", "descending", two_exponentials),
    Family("stretched", "descending", stretched),
    Family("logarithms", "descending", logarithms),
    Family("lines", "descending", lines),
    Family("hidden lines", "descending", hidden_lines),
    Family("autocorrelated", "descending", autocorrelated),
    Family("heavy tails", "descending", heavy),
    Family("skewed", "descending", skewed),
    Family("changing noise", "descending", changing),
    Family("cycles", "descending", cycles),
    Family("late falls", "descending", late_falls),
    Family("plateaus, then drop", "descending", plateaus),
    Family("rate cuts", "descending", cuts),
    Family("cosine schedules", "descending", cosines),
    Family("flat", "flat", flats),
    Family("flat, correlated", "flat", correlated_flats),
    Family("random walks", "flat", walks),
    Family("slow rises", "rising", slow_rises),
]
