"""Formulas in 120 digits for losses whose oracle asks SciPy, which has but 16."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.precise import context
from jaxloss.losses import counts, likelihood, robust


def _each(formula: Callable[..., Any], *arrays: Any) -> Any:
    return np.vectorize(formula, otypes=[object])(*arrays)


def _poisson(log_rate: Any, count: Any) -> Any:
    return context.exp(log_rate) - count * log_rate + context.loggamma(int(count) + 1)


def _negative_binomial(log_rate: Any, concentration: Any, count: Any) -> Any:
    k, r, m = int(count), concentration, context.exp(log_rate)
    return (
        context.loggamma(r)
        + context.loggamma(k + 1)
        - context.loggamma(k + r)
        - r * context.log(r / (r + m))
        - k * context.log(m / (r + m))
    )


def _inflated(loss: Any, zero_logit: Any, count: Any) -> Any:
    zero = 1 / (1 + context.exp(-zero_logit))
    return -context.log(zero * (int(count) == 0) + (1 - zero) * context.exp(-loss))


def _gamma(log_mean: Any, concentration: Any, amount: Any) -> Any:
    rate = concentration / context.exp(log_mean)
    return (
        context.loggamma(concentration)
        - concentration * context.log(rate)
        - (concentration - 1) * context.log(amount)
        + rate * amount
    )


def _student_t(prediction: Any, scale: Any, target: Any, df: Any) -> Any:
    z = (target - prediction) / scale
    return (
        context.loggamma(df / 2)
        - context.loggamma((df + 1) / 2)
        + context.log(df * context.pi) / 2
        + context.log(scale)
        + (df + 1) / 2 * context.log(1 + z * z / df)
    )


def _log_normal(prediction: Any, scale: Any, amount: Any) -> Any:
    z = (context.log(amount) - prediction) / scale
    return z * z / 2 + context.log(scale * amount) + context.log(2 * context.pi) / 2


def _pseudo_huber(prediction: Any, target: Any, delta: Any) -> Any:
    return delta**2 * (context.sqrt(1 + ((prediction - target) / delta) ** 2) - 1)


FORMULAS: dict[Callable[..., Any], Callable[..., Any]] = {
    counts.poisson: lambda r, c: _each(_poisson, r, c),
    counts.negative_binomial: lambda r, a, c: _each(_negative_binomial, r, a, c),
    counts.zero_inflated_poisson: lambda r, z, c: _each(
        lambda r, z, c: _inflated(_poisson(r, c), z, c), r, z, c
    ),
    counts.zero_inflated_negative_binomial: lambda r, a, z, c: _each(
        lambda r, a, z, c: _inflated(_negative_binomial(r, a, c), z, c), r, a, z, c
    ),
    counts.gamma: lambda m, a, x: _each(_gamma, m, a, x),
    likelihood.student_t: lambda p, s, t, df: _each(_student_t, p, s, t, df),
    likelihood.log_normal: lambda p, s, a: _each(_log_normal, p, s, a),
    robust.pseudo_huber: lambda p, t, delta: _each(_pseudo_huber, p, t, delta),
}
