"""The losses of every day in each library, float32 to a mean, and inputs to try them on.

Where a peer's definition differs, the call makes it ours: targets of -1 and 1 from 0 and 1, a
constant that is left out, the sum over classes. What a library has not, it does not enter.
"""

import importlib
from typing import Any

import numpy as np

from benchmarks.contestants import Loss

Shape = tuple[int, ...]
Inputs = tuple[np.ndarray, ...]

MARGIN, SMOOTHED = 0.7, 0.1
FP_WEIGHT, FN_WEIGHT = 0.3, 0.7


# Inputs


def counts(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Logarithms of rates, and counts."""
    log_rates = generator.standard_normal(shape, np.float32)
    return log_rates, generator.poisson(4, shape).astype(np.float32)


def scaled(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Predictions, scales and targets."""
    predictions, scales, targets = (generator.standard_normal(shape, np.float32) for _ in range(3))
    return predictions, np.exp(scales / 4), targets


def shares(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Probabilities that are neither 0 nor 1, and yes-or-no targets."""
    probabilities = generator.uniform(0.01, 0.99, shape).astype(np.float32)
    return probabilities, generator.integers(2, size=shape).astype(np.float32)


def mixed(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Logits, and a distribution over the last axis."""
    logits, others = (2 * generator.standard_normal(shape, np.float32) for _ in range(2))
    return logits, normalized(others)


def normalized(logits: np.ndarray) -> np.ndarray:
    """The softmax."""
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def log_likelihoods(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Log-probabilities, and one class for each row."""
    logits = generator.standard_normal(shape, np.float32)
    labels = generator.integers(shape[-1], size=shape[:-1], dtype=np.int32)
    return np.log(normalized(logits)), labels


def several(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Logits, which classes apply, and the indices of those, as torch wants them."""
    logits = generator.standard_normal(shape, np.float32)
    targets = np.zeros(shape, np.float32)
    targets[..., : max(1, shape[-1] // 8)] = 1
    targets = generator.permuted(targets, axis=-1)
    first = np.argsort(-targets, axis=-1, kind="stable").astype(np.int32)
    return logits, targets, np.where(np.sort(-targets, axis=-1) < 0, first, -1)


def triplets(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Anchors, positives and negatives."""
    return tuple(generator.standard_normal(shape, np.float32) for _ in range(3))


def pairs(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Two arrays, and whether they belong together along the last axis."""
    first, second = (generator.standard_normal(shape, np.float32) for _ in range(2))
    return first, second, generator.integers(2, size=shape[:-1]).astype(np.float32)


def orders(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Two scores, and whether the first should be larger."""
    first, second = (generator.standard_normal(shape, np.float32) for _ in range(2))
    return first, second, generator.integers(2, size=shape).astype(np.float32)


def amounts(generator: np.random.Generator, shape: Shape) -> Inputs:
    """Two amounts that are not negative."""
    return tuple(generator.exponential(size=shape).astype(np.float32) for _ in range(2))


# The libraries


def ours() -> dict[str, Loss]:
    """The losses of this package."""
    import jax

    from jaxloss.losses import (
        class_margin,
        classification,
        counts,
        likelihood,
        margin,
        pairs,
        region,
        regression,
        relative,
        robust,
    )

    cross_entropy = classification.softmax_cross_entropy
    return {
        "squared": regression.squared,
        "absolute": regression.absolute,
        "smooth_l1": lambda p, t: robust.smooth_l1(p, t, delta=MARGIN),
        "log_cosh": regression.log_cosh,
        "squared_log": relative.squared_log,
        "cosine_distance": regression.cosine_distance,
        "gaussian": likelihood.gaussian,
        "poisson": counts.poisson,
        "hinge": classification.hinge,
        "squared_hinge": margin.squared_hinge,
        "soft_margin": margin.logistic,
        "binary_cross_entropy": classification.binary_cross_entropy,
        "smoothed_cross_entropy": lambda z, y: cross_entropy(z, y, label_smoothing=SMOOTHED),
        "soft_cross_entropy": classification.soft_cross_entropy,
        "nll": classification.nll,
        "kl": lambda z, t: classification.kl(jax.nn.log_softmax(z), t),
        "multi_margin": lambda z, y: class_margin.weston_watkins(z, y, margin=MARGIN),
        "multilabel_margin": lambda z, t, _: class_margin.multilabel_margin(z, t),
        "multilabel_soft_margin": classification.sigmoid_cross_entropy,
        "triplet": lambda a, p, n: pairs.triplet(a, p, n, margin=MARGIN),
        "cosine_embedding": lambda a, b, t: pairs.cosine_embedding(a, b, t, margin=MARGIN),
        "margin_ranking": lambda a, b, t: pairs.margin_ranking(a, b, t, margin=MARGIN),
        "tversky": lambda z, t: region.tversky(
            jax.nn.softmax(z), t, fp_weight=FP_WEIGHT, fn_weight=FN_WEIGHT, smoothing=0.0
        ),
    }


def of_optax() -> dict[str, Loss]:
    """The losses of optax."""
    import jax
    from optax import losses

    def smoothed(z: Any, y: Any) -> Any:
        return losses.smooth_labels(jax.nn.one_hot(y, z.shape[-1]), SMOOTHED)

    return {
        "squared": lambda p, t: losses.squared_error(p, t).mean(),
        "log_cosh": lambda p, t: losses.log_cosh(p, t).mean(),
        "cosine_distance": lambda p, t: losses.cosine_distance(p, t).mean(),
        "hinge": lambda z, t: losses.hinge_loss(z, 2 * t - 1).mean(),
        "smoothed_cross_entropy": lambda z, y: losses.softmax_cross_entropy(
            z, smoothed(z, y)
        ).mean(),
        "soft_cross_entropy": lambda z, t: losses.softmax_cross_entropy(z, t).mean(),
        "kl": lambda z, t: losses.kl_divergence(jax.nn.log_softmax(z), t).mean(),
        "triplet": lambda a, p, n: losses.triplet_margin_loss(a, p, n, margin=MARGIN).mean(),
    }


def of_keras() -> dict[str, Loss]:
    """The losses of keras, on its JAX backend."""
    import jax
    import jax.numpy as jnp

    keras = importlib.import_module("keras")
    losses = keras.losses

    def smoothed(z: Any, y: Any) -> Any:
        one_hot = jax.nn.one_hot(y, z.shape[-1])
        return losses.categorical_crossentropy(
            one_hot, z, from_logits=True, label_smoothing=SMOOTHED
        ).mean()

    def tversky(z: Any, t: Any) -> Any:
        # What keras calls a false positive, alpha, is a false negative.
        weights = {"alpha": FN_WEIGHT, "beta": FP_WEIGHT}
        return losses.tversky(t, jax.nn.softmax(z), axis=(1, 2), **weights).mean()

    return {
        "squared": lambda p, t: losses.mean_squared_error(t, p).mean(),
        "absolute": lambda p, t: losses.mean_absolute_error(t, p).mean(),
        "log_cosh": lambda p, t: losses.log_cosh(t, p).mean(),
        "squared_log": lambda p, t: losses.mean_squared_logarithmic_error(t, p).mean(),
        "cosine_distance": lambda p, t: 1 + losses.cosine_similarity(t, p).mean(),
        "poisson": lambda r, t: (
            losses.poisson(t, jnp.exp(r)).mean() + jax.scipy.special.gammaln(t + 1).mean()
        ),
        "hinge": lambda z, t: losses.hinge(t, z).mean(),
        "squared_hinge": lambda z, t: losses.squared_hinge(t, z).mean(),
        "binary_cross_entropy": lambda p, t: losses.binary_crossentropy(t, p).mean(),
        "smoothed_cross_entropy": smoothed,
        "soft_cross_entropy": lambda z, t: losses.categorical_crossentropy(
            t, z, from_logits=True
        ).mean(),
        "kl": lambda z, t: losses.kl_divergence(t, jax.nn.softmax(z)).mean(),
        "tversky": tversky,
    }


def of_torch() -> dict[str, Loss]:
    """The losses of torch."""
    torch = importlib.import_module("torch")
    functional = torch.nn.functional

    def poisson(r: Any, t: Any) -> Any:
        return functional.poisson_nll_loss(r, t) + torch.lgamma(t + 1).mean()

    return {
        "squared": functional.mse_loss,
        "absolute": functional.l1_loss,
        "smooth_l1": lambda p, t: functional.smooth_l1_loss(p, t, beta=MARGIN),
        "cosine_distance": lambda p, t: 1 - functional.cosine_similarity(p, t).mean(),
        "gaussian": lambda p, s, t: functional.gaussian_nll_loss(p, t, s * s, full=True),
        "poisson": poisson,
        "soft_margin": lambda z, t: functional.soft_margin_loss(z, 2 * t - 1),
        "binary_cross_entropy": functional.binary_cross_entropy,
        "smoothed_cross_entropy": lambda z, y: functional.cross_entropy(
            z, y, label_smoothing=SMOOTHED
        ),
        "soft_cross_entropy": functional.cross_entropy,
        "nll": functional.nll_loss,
        "kl": lambda z, t: functional.kl_div(
            functional.log_softmax(z, -1), t, reduction="batchmean"
        ),
        "multi_margin": lambda z, y: functional.multi_margin_loss(z, y, margin=MARGIN),
        "multilabel_margin": lambda z, _, indices: functional.multilabel_margin_loss(z, indices),
        "multilabel_soft_margin": functional.multilabel_soft_margin_loss,
        "triplet": lambda a, p, n: functional.triplet_margin_loss(a, p, n, margin=MARGIN),
        "cosine_embedding": lambda a, b, t: functional.cosine_embedding_loss(
            a, b, 2 * t - 1, margin=MARGIN
        ),
        "margin_ranking": lambda a, b, t: functional.margin_ranking_loss(
            a, b, 2 * t - 1, margin=MARGIN
        ),
    }
