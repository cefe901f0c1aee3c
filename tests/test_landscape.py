"""The loss around a point, and directions that do not depend on how a network is scaled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.evaluation import filter_normalized, landscape, random_directions

KEYS = jax.random.split(jax.random.key(0), 4)
X, Y = jax.random.normal(KEYS[0], (32, 3)), jax.random.normal(KEYS[1], (32, 2))
PARAMS = {
    "in": {"kernel": jax.random.normal(KEYS[2], (3, 8)), "bias": jnp.full(8, 0.1)},
    "out": {"kernel": jax.random.normal(KEYS[3], (8, 2))},
}


def loss(params):
    hidden = jax.nn.relu(X @ params["in"]["kernel"] + params["in"]["bias"][None])
    return ((hidden @ params["out"]["kernel"] - Y) ** 2).mean()


def rescaled(params, factor):
    """The same network, whose hidden units are scaled, each by its own factor."""
    inner, outer = params["in"], params["out"]
    return {
        "in": {"kernel": inner["kernel"] * factor[None], "bias": inner["bias"] * factor},
        "out": {"kernel": outer["kernel"] / factor[:, None]},
    }


def test_a_line_and_a_plane_of_a_quadratic():
    minimum = {"a": jnp.array([1.0, -1.0]), "b": jnp.float32(2.0)}
    ahead = {"a": jnp.array([3.0, 4.0]), "b": jnp.float32(0.0)}
    aside = {"a": jnp.array([0.0, 0.0]), "b": jnp.float32(2.0)}

    def bowl(params):
        return ((params["a"] - minimum["a"]) ** 2).sum() + (params["b"] - minimum["b"]) ** 2

    line = landscape(bowl, minimum, [ahead])
    np.testing.assert_allclose(line.at, np.linspace(-1, 1, 25), atol=1e-6)
    np.testing.assert_allclose(line.losses, 25 * line.at**2, rtol=1e-5, atol=1e-6)
    at = np.array([-1.0, 0.0, 0.5])
    plane = landscape(bowl, minimum, [ahead, aside], at=at)
    expected = [[25 * a**2 + 4 * b**2 for b in at] for a in at]
    np.testing.assert_allclose(plane.losses, expected, rtol=1e-6)


def test_from_one_point_to_another():
    other = jax.tree.map(lambda x: x + 0.3, PARAMS)
    way = jax.tree.map(jnp.subtract, other, PARAMS)
    found = landscape(loss, PARAMS, [way], at=jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(found.losses, [loss(PARAMS), loss(other)], rtol=1e-5)


def test_filters_lie_along_all_axes_but_the_last():
    kernel = jax.random.normal(KEYS[0], (3, 3, 4, 5))  # height, width, inputs, outputs
    drawn = jax.random.normal(KEYS[1], kernel.shape)
    found = filter_normalized(drawn, kernel)
    for k in range(5):
        length = jnp.linalg.norm(kernel[..., k].ravel())
        np.testing.assert_allclose(jnp.linalg.norm(found[..., k].ravel()), length, rtol=1e-6)
        np.testing.assert_allclose(
            found[..., k] / length,
            drawn[..., k] / jnp.linalg.norm(drawn[..., k].ravel()),
            rtol=1e-5,
        )


def test_the_landscape_does_not_depend_on_the_scale_of_the_layers():
    """With directions of the length of the params themselves it would."""
    plain = {
        "in": {"kernel": jax.random.normal(KEYS[0], (3, 8)), "bias": jnp.zeros(8)},
        "out": {"kernel": jax.random.normal(KEYS[1], (8, 2))},
    }
    factor = jnp.full(8, 10.0)
    other = rescaled(PARAMS, factor)
    np.testing.assert_allclose(loss(other), loss(PARAMS), rtol=1e-5)
    curves = [
        landscape(loss, params, [filter_normalized(plain, params)]).losses
        for params in (PARAMS, other)
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)
    blind = [landscape(loss, params, [plain]).losses for params in (PARAMS, other)]
    assert np.abs(blind[0] / blind[1] - 1).max() > 0.5


def test_units_of_one_layer_may_be_scaled_each_by_its_own_factor():
    """The first layer's filters then keep their shares. Along its first axis they would not."""
    kernel = PARAMS["in"]["kernel"]
    drawn = jax.random.normal(KEYS[1], kernel.shape)
    factor = jnp.exp(jax.random.normal(KEYS[2], (8,)))
    found = filter_normalized(drawn, kernel * factor[None])
    np.testing.assert_allclose(found / factor[None], filter_normalized(drawn, kernel), rtol=1e-5)


def test_random_directions():
    first, second = random_directions(KEYS[0], PARAMS)
    assert not first["in"]["bias"].any()
    length = jnp.linalg.norm(PARAMS["out"]["kernel"], axis=0)
    for direction in (first, second):
        np.testing.assert_allclose(
            jnp.linalg.norm(direction["out"]["kernel"], axis=0), length, rtol=1e-6
        )
    assert not np.allclose(first["in"]["kernel"], second["in"]["kernel"])
    (again,) = random_directions(KEYS[0], PARAMS, 1)
    assert jax.tree.structure(again) == jax.tree.structure(PARAMS)


def test_what_is_no_floating_point_number_stays():
    params = {"kernel": jnp.ones((4, 2), jnp.bfloat16), "step": jnp.int32(3), "key": KEYS[0]}
    directions = random_directions(KEYS[1], params, 2)
    assert directions[0]["kernel"].dtype == jnp.bfloat16

    def step(params):
        jax.random.bits(params["key"])
        return params["step"].astype(jnp.float32) + 0 * params["kernel"].astype(jnp.float32).sum()

    assert (landscape(step, params, directions, at=jnp.array([0.0, 1.0])).losses == 3).all()
    zero = filter_normalized(jnp.zeros((2, 2)), jnp.ones((2, 2)))
    assert not zero.any()


def test_what_is_refused():
    with pytest.raises(ValueError, match="directions must be one or two, got 3"):
        landscape(loss, PARAMS, [PARAMS] * 3)
    with pytest.raises(ValueError, match="directions must have the structure of params"):
        landscape(loss, PARAMS, [{"in": PARAMS["in"]}])
