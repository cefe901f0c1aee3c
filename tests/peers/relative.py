"""Relative losses of the peers."""

import numpy as np
import pytest

from jaxloss.losses import relative
from tests.oracles import Row


def one_by_one(metric):
    """A metric of scikit-learn, which reduces, of each pair of numbers."""
    return np.vectorize(lambda p, t: metric([t], [p]))


def sklearn_squared_log(amounts, target_amounts):
    from sklearn.metrics import mean_squared_log_error

    return one_by_one(mean_squared_log_error)(amounts, target_amounts)


def keras_squared_log(amounts, target_amounts):
    """Keras takes the mean over the last axis, here over one number."""
    keras = pytest.importorskip("keras")

    pair = target_amounts[..., None], amounts[..., None]
    return np.asarray(keras.losses.mean_squared_logarithmic_error(*pair))


def sklearn_absolute_percentage(predictions, targets):
    from sklearn.metrics import mean_absolute_percentage_error

    return one_by_one(mean_absolute_percentage_error)(predictions, targets)


def keras_absolute_percentage(predictions, targets):
    """In percent."""
    keras = pytest.importorskip("keras")

    pair = targets[..., None], predictions[..., None]
    return np.asarray(keras.losses.mean_absolute_percentage_error(*pair)) / 100


def scipy_correlation(predictions, targets):
    from scipy.spatial.distance import correlation

    return [correlation(p, t) for p, t in zip(predictions, targets, strict=True)]


PEERS = [
    Row(relative.squared_log, sklearn_squared_log),
    Row(relative.squared_log, keras_squared_log),
    Row(relative.absolute_percentage, sklearn_absolute_percentage),
    Row(relative.absolute_percentage, keras_absolute_percentage),
    Row(relative.pearson_distance, scipy_correlation),
]
