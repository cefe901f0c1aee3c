"""Independent truth for :mod:`jaxloss.losses.box`: areas, one pair of boxes at a time."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.losses import box
from tests.oracles import Row


def per_pair(distance):
    """``distance`` of two boxes, over arrays of them."""

    def over_arrays(boxes, target_boxes):
        losses = np.zeros(boxes.shape[:-1])
        for index in np.ndindex(*losses.shape):
            losses[index] = distance(list(boxes[index]), list(target_boxes[index]))
        return losses

    return over_arrays


def area(a):
    half = len(a) // 2
    return math.prod(max(a[half + i] - a[i], 0) for i in range(half))


def intersection(a, b):
    half = len(a) // 2
    return [*map(max, a[:half], b[:half]), *map(min, a[half:], b[half:])]


def hull(a, b):
    half = len(a) // 2
    return [*map(min, a[:half], b[:half]), *map(max, a[half:], b[half:])]


def union(a, b):
    return area(a) + area(b) - area(intersection(a, b))


def iou(a, b):
    return 1 - area(intersection(a, b)) / union(a, b)


def giou(a, b):
    enclosing = area(hull(a, b))
    return iou(a, b) + (enclosing - union(a, b)) / enclosing


def diou(a, b):
    def center(c):
        half = len(c) // 2
        return [(c[i] + c[half + i]) / 2 for i in range(half)]

    enclosing = hull(a, b)
    half = len(a) // 2
    diagonal = math.dist(enclosing[:half], enclosing[half:])
    return iou(a, b) + math.dist(center(a), center(b)) ** 2 / diagonal**2


def ciou(a, b):
    difference = math.atan((b[2] - b[0]) / (b[3] - b[1])) - math.atan((a[2] - a[0]) / (a[3] - a[1]))
    v = 4 / math.pi**2 * difference**2
    alpha = v / (iou(a, b) + v)
    return diou(a, b) + alpha * v


def overlapping(dimensions):
    """Boxes that overlap, contain each other or lie apart, whatever their number of axes."""

    def make():
        low, size, other_low, other_size = jax.random.uniform(
            jax.random.key(dimensions), (4, 3, 8, dimensions), minval=0.1
        )
        boxes = jnp.concatenate([low, low + size], -1)
        return boxes, jnp.concatenate([other_low, other_low + other_size], -1)

    return make


ROWS = [
    *(Row(box.iou, per_pair(iou), inputs=overlapping(dimensions)) for dimensions in (1, 2, 3)),
    *(Row(box.giou, per_pair(giou), inputs=overlapping(dimensions)) for dimensions in (1, 2, 3)),
    *(Row(box.diou, per_pair(diou), inputs=overlapping(dimensions)) for dimensions in (1, 2, 3)),
    Row(box.ciou, per_pair(ciou), inputs=overlapping(2)),
]
