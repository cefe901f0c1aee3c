"""Peers of :mod:`jaxloss.losses.box`, imported only when called."""

import numpy as np
import pytest

from jaxloss.losses import box
from tests.oracles import Row
from tests.oracles.box import overlapping


def on_tensors(function, *arrays):
    """``function`` of torch tensors, from and to NumPy."""
    torch = pytest.importorskip("torch")

    return function(*(torch.from_numpy(np.array(array)) for array in arrays)).numpy()


def torchvision(name):
    """A function of torchvision that takes boxes and their targets."""

    def peer(boxes, target_boxes):
        operators = pytest.importorskip("torchvision.ops")
        return on_tensors(getattr(operators, name), boxes, target_boxes)

    return peer


def torchvision_iou(boxes, target_boxes):
    """From the whole matrix, since there is no such loss."""
    box_iou = pytest.importorskip("torchvision.ops").box_iou
    matrices = [on_tensors(box_iou, *pair) for pair in zip(boxes, target_boxes, strict=True)]
    return 1 - np.diagonal(matrices, axis1=-2, axis2=-1)


def monai_giou(boxes, target_boxes):
    loss = pytest.importorskip("monai.losses.giou_loss").BoxGIoULoss(reduction="none")
    return np.stack([on_tensors(loss, *row) for row in zip(boxes, target_boxes, strict=True)])


PEERS = [
    Row(box.iou, torchvision_iou, inputs=overlapping(2)),
    Row(box.giou, torchvision("generalized_box_iou_loss"), inputs=overlapping(2)),
    Row(box.giou, monai_giou, inputs=overlapping(2)),
    Row(box.giou, monai_giou, inputs=overlapping(3)),
    Row(box.diou, torchvision("distance_box_iou_loss"), inputs=overlapping(2)),
    Row(box.ciou, torchvision("complete_box_iou_loss"), inputs=overlapping(2)),
]
