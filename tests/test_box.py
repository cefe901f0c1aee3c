"""What no law can know about the losses between boxes: touching, empty, huge and equal ones."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.experimental import checkify

from jaxloss.losses import box

LOSSES = [box.iou, box.giou, box.diou, box.ciou]
MATRICES = [box.pairwise_iou, box.pairwise_giou, box.pairwise_diou, box.pairwise_ciou]
every_loss = pytest.mark.parametrize("loss", LOSSES)

UNIT = jnp.array([0.0, 0.0, 1.0, 1.0])

# name: box, target, and the four losses by hand
BY_HAND = {
    "equal": ([0, 0, 2, 1], [0, 0, 2, 1], (0, 0, 0, 0)),
    "half": ([0, 0, 2, 2], [0, 0, 2, 1], (1 / 2, 1 / 2, 1 / 2 + 1 / 32, None)),
    "diagonal": ([0, 0, 2, 2], [1, 1, 3, 3], (6 / 7, 6 / 7 + 2 / 9, 6 / 7 + 1 / 9, 6 / 7 + 1 / 9)),
    "touching": ([0, 0, 1, 1], [1, 0, 2, 1], (1, 1, 1 + 1 / 5, 1 + 1 / 5)),
    "apart": ([0, 0, 1, 1], [3, 3, 4, 4], (1, 1 + 14 / 16, 1 + 18 / 32, 1 + 18 / 32)),
    "line inside": ([0, 1, 2, 1], [0, 0, 2, 2], (1, 1, 1, 1 + (1 / 4) ** 2 / (1 + 1 / 4))),
    "point inside": ([1, 1, 1, 1], [0, 0, 2, 2], (1, 1, 1, 1)),
    "one point": ([1, 1, 1, 1], [1, 1, 1, 1], (0, 0, 0, 0)),
    "two points": ([0, 0, 0, 0], [3, 4, 3, 4], (1, 2, 2, 2)),
    "lines in a line": ([0, 1, 2, 1], [1, 1, 3, 1], (2 / 3, 2 / 3, 7 / 9, 7 / 9)),
    "parallel lines": ([0, 0, 2, 0], [0, 1, 2, 1], (1, 2, 1 + 1 / 5, 1 + 1 / 5)),
    "crossing lines": ([0, 1, 2, 1], [1, 0, 1, 2], (1, 2, 1, 1 + 1 / 2)),
}


@functools.cache
def derivatives(loss):
    """Value, both gradients, Hessian and a directional derivative."""

    def everything(boxes, targets):
        value, slopes = jax.value_and_grad(loss, (0, 1))(boxes, targets)
        _, directional = jax.jvp(loss, (boxes, targets), (jnp.ones(4), -jnp.ones(4)))
        return value, slopes, jax.hessian(loss, (0, 1))(boxes, targets), directional

    return jax.jit(everything)


@every_loss
@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("scale", [1, 1e-18, 1e18])
def test_by_hand(loss, name, scale):
    boxes, targets, expected = BY_HAND[name]
    boxes, targets = (jnp.array(x, jnp.float32) * scale for x in (boxes, targets))
    value, slopes, hessian, directional = derivatives(loss)(boxes, targets)
    wanted = expected[LOSSES.index(loss)]
    if wanted is not None:
        np.testing.assert_allclose(value, wanted, rtol=3e-7, atol=0)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((slopes, directional)))
    if scale >= 1:  # curvature goes like 1/scale^2
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(hessian))


@every_loss
@pytest.mark.parametrize("name", ["equal", "one point"])
def test_equal_boxes_are_not_moved(loss, name):
    value, slopes, *_ = derivatives(loss)(*(jnp.array(x, jnp.float32) for x in BY_HAND[name][:2]))
    assert value == 0
    np.testing.assert_array_equal(slopes, np.zeros((2, 4)))


@every_loss
def test_equal_boxes_cost_exactly_nothing(loss):
    corner, size = jax.random.uniform(jax.random.key(0), (2, 500, 2))
    boxes = jnp.concatenate([corner - 3, corner + size], -1)
    assert (loss(boxes, boxes, reduction="none") == 0).all()


@every_loss
@pytest.mark.parametrize("shift", [1e-3, 1e-5, 1e-7])
def test_nearly_equal_boxes_keep_their_digits(loss, shift):
    """A unit square moved aside by d: IoU 1 - 2d/(1+d), centers d apart, no hull to fill."""
    d = float(np.float32(shift))
    boxes, targets = jnp.array([0, 0, 1, 1.0]), jnp.array([-d, 0, 1, 1])
    iou, centers = d / (1 + d), (d / 2) ** 2 / (1 + (1 + d) ** 2)
    v = 4 / np.pi**2 * (np.arctan(1 + d) - np.arctan(1)) ** 2
    expected = [iou, iou, iou + centers, iou + centers + v**2 / (iou + v)]
    np.testing.assert_allclose(loss(boxes, targets), expected[LOSSES.index(loss)], rtol=1e-6)


def test_touching_boxes_are_pulled_together():
    """The one-sided derivative: overlapping by d lowers the IoU loss by d/2."""
    slope = jax.grad(box.iou)(UNIT, UNIT + jnp.array([1.0, 0, 1, 0]))
    np.testing.assert_allclose(slope, [0, 0, -1 / 2, 0], atol=1e-7)


def test_a_line_inside_its_target_grows():
    slope = jax.grad(box.iou)(jnp.array([0.25, 0.5, 0.75, 0.5]), UNIT)
    np.testing.assert_allclose(slope, [0, 1 / 2, 0, -1 / 2], atol=1e-7)


def test_distant_boxes_are_drawn_together_except_by_iou():
    far = UNIT + 1e6
    assert (jax.grad(box.iou)(UNIT, far) == 0).all()
    for loss in LOSSES[1:]:
        slope = jax.grad(loss)(UNIT, far)
        assert (slope[2:] < 0).all()


def test_ciou_takes_the_weight_of_its_aspect_term_for_a_constant():
    with jax.enable_x64(True):
        boxes, targets = jnp.array([0.1, 0.2, 1.4, 0.9]), jnp.array([0.0, 0.3, 0.8, 1.5])

        def aspect(b):
            ratios = [np.arctan2(x[2] - x[0], x[3] - x[1]) for x in (b, np.asarray(targets))]
            return 4 / np.pi**2 * (ratios[0] - ratios[1]) ** 2

        v = aspect(np.asarray(boxes))
        weight = v / (box.iou(boxes, targets) + v)
        np.testing.assert_allclose(
            box.ciou(boxes, targets), box.diou(boxes, targets) + weight * v, rtol=1e-12
        )
        steps = 1e-6 * np.eye(4)
        numeric = [(aspect(boxes + h) - aspect(boxes - h)) / 2e-6 for h in steps]
        extra = jax.grad(box.ciou)(boxes, targets) - jax.grad(box.diou)(boxes, targets)
        np.testing.assert_allclose(extra, weight * np.array(numeric), rtol=1e-7)


def test_gradient_of_giou_keeps_its_digits_at_a_distance():
    """Two unit squares n apart: 2 - U/C with U = 2, C = (n + 1)^2, tiny beside d(C - U)/C."""
    hull = 1001.0
    slope = jax.grad(box.giou)(UNIT, UNIT + (hull - 1))
    low, high = 1 / hull**2 - 2 / hull**3, -1 / hull**2
    np.testing.assert_allclose(slope, [low, low, high, high], rtol=1e-5)


@every_loss
def test_integer_coordinates(loss):
    boxes, targets = jnp.array([0, 0, 2, 4]), jnp.array([1, 0, 3, 3])
    expected = loss(boxes.astype(jnp.float32), targets.astype(jnp.float32))
    assert loss(boxes, targets) == expected


@pytest.mark.parametrize(("loss", "matrix"), list(zip(LOSSES, MATRICES, strict=True)))
def test_matrices_agree_with_losses_to_the_bit(loss, matrix):
    corner, size = jax.random.uniform(jax.random.key(0), (2, 2, 5, 2))
    boxes = jnp.concatenate([corner, corner + size], -1)
    others = boxes[:, ::-1][:, :3] * 1.25
    similarity = matrix(boxes, others)
    assert similarity.shape == (2, 5, 3)
    for row, column in np.ndindex(5, 3):
        each = loss(boxes[:, row], others[:, column], reduction="none")
        np.testing.assert_array_equal(similarity[:, row, column], 1 - each)


def test_matrix_in_space_by_hand():
    boxes = jnp.array([[0, 0, 0, 2, 2, 2], [1, 1, 1, 3, 3, 3]])
    others = jnp.array([[0, 0, 0, 2, 2, 2], [0, 0, 0, 2, 2, 1], [2, 2, 2, 4, 4, 4]])
    similarity = box.pairwise_iou(boxes, others)
    np.testing.assert_allclose(similarity, [[1, 1 / 2, 0], [1 / 15, 0, 1 / 15]], rtol=1e-6, atol=0)
    generalized = box.pairwise_giou(boxes[:1], others[2:])
    np.testing.assert_allclose(generalized, [[-48 / 64]], rtol=1e-6)


def test_matrices_without_rows_are_empty():
    assert box.pairwise_giou(jnp.zeros((0, 4)), jnp.zeros((3, 4))).shape == (0, 3)


@every_loss
def test_an_inverted_side_has_no_length(loss):
    inverted, flat = jnp.array([0.75, 0.1, 0.25, 0.9]), jnp.array([0.75, 0.1, 0.75, 0.9])
    assert loss(inverted, UNIT) == loss(flat, UNIT)
    assert loss(UNIT, inverted) == loss(UNIT, flat)
    assert jnp.isfinite(jax.grad(loss)(inverted, UNIT)).all()


@every_loss
def test_inverted_boxes_are_reported(loss):
    checked = checkify.checkify(loss)
    inverted = jnp.stack([UNIT, jnp.array([0.75, 0.0, 0.25, 1.0])])
    targets = jnp.stack([UNIT, UNIT])
    must = f"{loss.__name__}: {{}} must have no maximum below its minimum, got 0.25"
    with pytest.raises(checkify.JaxRuntimeError, match=must.format("boxes")):
        checked(inverted, targets)[0].throw()
    with pytest.raises(checkify.JaxRuntimeError, match=must.format("target_boxes")):
        checked(targets, inverted)[0].throw()
    masked, _ = checked(inverted, targets, where=jnp.array([True, False]))
    assert masked.get() is None


@pytest.fixture
def without_shape_checks(monkeypatch):
    """What a user meets, who has no import hook that checks annotations first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box.iou(UNIT[:3], UNIT[:3]), r"iou: boxes must be of shape .*got \(3,\)"),
        (lambda: box.diou(UNIT[0], UNIT[0]), r"diou: boxes must be of shape .*got \(\)"),
        (lambda: box.giou(UNIT, UNIT[None]), r"giou: shapes must be equal, got boxes \(4,\)"),
        (
            lambda: box.ciou(jnp.zeros((3, 6)), jnp.zeros((3, 6))),
            r"ciou: boxes must be boxes in the plane, .*\(3, 6\)",
        ),
        (
            lambda: box.pairwise_ciou(jnp.zeros((3, 4)), jnp.zeros((3, 6))),
            r"pairwise_ciou: other_boxes must be boxes in the plane, .*\(3, 6\)",
        ),
        (
            lambda: box.pairwise_iou(UNIT, UNIT[None]),
            r"pairwise_iou: boxes must be of shape \(\*batch, count, .*got shape \(4,\)",
        ),
        (
            lambda: box.pairwise_iou(jnp.zeros((2, 3, 4)), jnp.zeros((1, 3, 4))),
            r"pairwise_iou: boxes and other_boxes .*\(2, 3, 4\), other_boxes \(1, 3, 4\)",
        ),
    ],
)
def test_wrong_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
