"""Losses on ordered classes, one example and one threshold at a time."""

import numpy as np
import scipy.stats

from jaxloss.losses import ordinal
from tests.oracles import Row


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def coral(logits, labels):
    losses = np.zeros(labels.shape)
    for i, y in np.ndenumerate(labels):
        for k, z in enumerate(logits[i]):
            losses[i] -= np.log(sigmoid(z) if y > k else 1 - sigmoid(z))
    return losses


def corn(logits, labels):
    losses = np.zeros(labels.shape)
    for i, y in np.ndenumerate(labels):
        reached = np.concatenate([[1.0], np.cumprod(sigmoid(logits[i])), [0.0]])
        losses[i] = -np.log(reached[y] - reached[y + 1])
    return losses


def cumulative_link(predictions, labels, cut_points, link):
    above = {
        "logit": lambda x: sigmoid(-x),
        "probit": scipy.stats.norm.sf,
        "cloglog": lambda x: np.exp(-np.exp(x)),
    }[link]
    ends = np.concatenate([[-np.inf], cut_points, [np.inf]])
    with np.errstate(over="ignore"):
        share = above(ends - predictions[..., None])
    low = np.take_along_axis(share, labels[..., None], -1)
    return -np.log(low - np.take_along_axis(share, labels[..., None] + 1, -1))[..., 0]


def all_thresholds(predictions, labels, cut_points, margin):
    losses = np.zeros(labels.shape)
    for i, y in np.ndenumerate(labels):
        for k, c in enumerate(cut_points):
            side = predictions[i] - c if y > k else c - predictions[i]
            losses[i] += max(margin - side, 0)
    return losses


def immediate_thresholds(predictions, labels, cut_points, margin):
    losses = np.zeros(labels.shape)
    for i, y in np.ndenumerate(labels):
        if y > 0:
            losses[i] += max(margin - (predictions[i] - cut_points[y - 1]), 0)
        if y < len(cut_points):
            losses[i] += max(margin - (cut_points[y] - predictions[i]), 0)
    return losses


def earth_mover(probabilities, targets, power):
    moved = np.cumsum(probabilities, -1) - np.cumsum(targets, -1)
    return (np.abs(moved[..., :-1]) ** power).sum(-1)


ROWS = [
    Row(ordinal.coral, coral),
    Row(ordinal.corn, corn),
    Row(ordinal.cumulative_link, cumulative_link, {"link": "logit"}),
    Row(ordinal.cumulative_link, cumulative_link, {"link": "probit"}),
    Row(ordinal.cumulative_link, cumulative_link, {"link": "cloglog"}),
    Row(ordinal.all_thresholds, all_thresholds, {"margin": 0.7}),
    Row(ordinal.immediate_thresholds, immediate_thresholds, {"margin": 0.7}),
    Row(ordinal.earth_mover, earth_mover, {"power": 2.0}),
    Row(ordinal.earth_mover, earth_mover, {"power": 1.3}),
]
