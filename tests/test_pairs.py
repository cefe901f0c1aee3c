"""What no law can know about the losses on pairs and triplets."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

from jaxloss.losses import pairs

ORIGIN, EAST, NORTH = jnp.array([[0.0, 0.0]]), jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 4.0]])
VIEWS = jnp.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]])
THINGS = jnp.array([0, 0, 1, 1])


def test_triplet_is_the_missing_part_of_the_margin():
    assert pairs.triplet(ORIGIN, EAST, NORTH) == 0
    assert pairs.triplet(ORIGIN, EAST, NORTH, margin=1.5) == 0.5
    assert pairs.triplet(ORIGIN, NORTH, EAST, margin=0.0) == 1


def test_triplet_swap_takes_the_negative_nearest_to_either():
    negative = jnp.array([[3.0, 1.0]])  # 3.16 from the anchor, 1 from the positive
    assert pairs.triplet(ORIGIN, EAST, negative, margin=0.0) == 0
    assert pairs.triplet(ORIGIN, EAST, negative, margin=0.0, swap=True) == 2


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_triplet_neither_overflows_nor_underflows(scale):
    arrays = ORIGIN * scale, NORTH * scale, EAST * scale
    loss, gradients = jax.value_and_grad(pairs.triplet, argnums=(0, 1, 2))(*arrays, margin=0.0)
    np.testing.assert_allclose(loss, scale, rtol=1e-6)
    np.testing.assert_allclose(gradients, [[[1, -1]], [[0, 1]], [[-1, 0]]], rtol=1e-6)


def test_triplet_has_gradient_zero_at_its_kink():
    gradients = jax.grad(pairs.triplet, argnums=(0, 1, 2))(ORIGIN, EAST, NORTH, margin=1.0)
    np.testing.assert_array_equal(gradients, np.zeros((3, 1, 2)))


def test_triplet_of_coincident_points_costs_the_margin_and_pulls_nowhere():
    value, gradients = jax.value_and_grad(pairs.triplet, argnums=(0, 1, 2))(EAST, EAST, EAST)
    assert value == 1
    np.testing.assert_array_equal(gradients, np.zeros((3, 1, 2)))
    hessian = jax.jit(jax.hessian(lambda x: pairs.triplet(x, EAST, EAST, swap=True)))(EAST)
    np.testing.assert_array_equal(hessian, np.zeros((1, 2, 1, 2)))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("power", [1.0, 2.0, 5.0])
def test_triplet_of_any_power_neither_overflows_nor_underflows(scale, power):
    far, near = jnp.array([[3.0, -4.0]]) * scale, jnp.array([[0.0, 2.0]]) * scale

    def loss(anchor):
        return pairs.triplet(anchor, far, near, margin=0.0, power=power)

    value, gradient = jax.value_and_grad(loss)(ORIGIN)
    length = (3**power + 4**power) ** (1 / power)
    slope = np.array([3, 4]) ** (power - 1) / length ** (power - 1)
    np.testing.assert_allclose(value, (length - 2) * scale, rtol=1e-6)
    np.testing.assert_allclose(gradient[0], [-slope[0], slope[1] + 1], rtol=1e-6)


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_triplet_of_any_power_is_finite_where_features_agree(power):
    """Equal features have slope 0, as have coincident points, in every derivative."""
    partly = jnp.array([[3.0, 1.0]])

    def loss(anchor):
        return pairs.triplet(anchor, EAST, partly, power=power)

    assert loss(EAST) == 0
    for derivative in (jax.jacfwd, jax.hessian):
        assert jnp.isfinite(
            derivative(lambda x: pairs.triplet(x, EAST, EAST, power=power))(EAST)
        ).all()
        assert jnp.isfinite(
            derivative(lambda x: pairs.triplet(x, x + 1, EAST, power=power))(EAST)
        ).all()


def test_triplet_with_power_two_is_the_default():
    anchors, positives, negatives = jax.random.normal(jax.random.key(5), (3, 6, 4))
    np.testing.assert_allclose(
        pairs.triplet(anchors, positives, negatives, power=2.0, reduction="none"),
        pairs.triplet(anchors, positives, negatives, reduction="none"),
        rtol=1e-6,
    )


def test_contrastive_pulls_by_the_distance_and_pushes_by_what_lacks():
    one, other = jnp.array([[3.0, 0.0]] * 3), jnp.zeros((3, 2))
    targets, margins = jnp.array([1, 0, 0]), jnp.array([1.0, 5.0, 3.0])

    def losses(one):
        return jax.vmap(lambda x, y, t, m: pairs.contrastive(x, y, t, margin=m))(
            one, other, targets, margins
        )

    np.testing.assert_array_equal(losses(one), [4.5, 2, 0])
    gradient = jax.grad(lambda x: losses(x).sum())(one)
    np.testing.assert_array_equal(gradient, [[3, 0], [-2, 0], [0, 0]])


def test_contrastive_of_coincident_points_pulls_and_pushes_nowhere():
    for target in (0, 1):
        value, gradient = jax.value_and_grad(pairs.contrastive)(EAST, EAST, jnp.array([target]))
        assert value == (1 - target) / 2
        np.testing.assert_array_equal(gradient, 0)


def test_cosine_embedding_keeps_its_digits_when_vectors_nearly_agree():
    one, other = jnp.array([[1.0, 0.0]]), jnp.array([[1.0, 1e-4]])
    np.testing.assert_allclose(pairs.cosine_embedding(one, other, jnp.array([1])), 5e-9, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_cosine_embedding_knows_only_directions(scale):
    one, other = jnp.array([[1.0, 0.0]] * 2) * scale, jnp.array([[3.0, 4.0], [3.0, -4.0]])
    targets = jnp.array([1, 0])

    def loss(one):
        return pairs.cosine_embedding(one, other, targets, reduction="none")

    np.testing.assert_allclose(loss(one), [0.4, 0.6], rtol=1e-6)
    slopes = jax.jacobian(loss)(one) * scale
    np.testing.assert_allclose(slopes[0, 0], [0, -0.8], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(slopes[1, 1], [0, -0.8], rtol=1e-6, atol=1e-7)


def test_cosine_embedding_of_a_zero_vector_has_no_slope():
    for target, expected in ((1, 1), (0, 0.5)):
        loss = functools.partial(pairs.cosine_embedding, targets=jnp.array([target]), margin=-0.5)
        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(ORIGIN, EAST)
        assert value == expected
        np.testing.assert_array_equal(gradients, np.zeros((2, 1, 2)))


def test_hinge_embedding_at_its_kink_and_beyond():
    distances, targets = jnp.array([2.0, 2.0, 0.5, jnp.inf]), jnp.array([1, 0, 0, 0])
    value, slope = jax.value_and_grad(pairs.hinge_embedding)(distances, targets, margin=2.0)
    assert value == (2 + 1.5) / 4
    np.testing.assert_array_equal(slope, np.array([1, 0, -1, 0]) / 4)


def test_margin_ranking_at_its_kink_and_between_infinities():
    scores, other = jnp.array([3.0, 1.0, -jnp.inf, jnp.inf]), jnp.array([1.0, 3.0, -jnp.inf, 0.0])

    def losses(scores, targets):
        return pairs.margin_ranking(scores, other, targets, margin=2.0, reduction="none")

    np.testing.assert_array_equal(losses(scores, jnp.array([1, 1, 0, 1])), [0, 4, 2, 0])
    slope = jax.grad(lambda x: losses(x, jnp.array([1, 1, 0, 1])).sum())(scores)
    np.testing.assert_array_equal(slope, [0, -1, 0, 0])


def test_margin_ranking_at_a_tie_still_asks_for_the_margin():
    slopes = jax.grad(pairs.margin_ranking, argnums=(0, 1))(
        jnp.ones(1), jnp.ones(1), jnp.ones(1), margin=1.0
    )
    np.testing.assert_array_equal(slopes, [[-1], [1]])


def test_nt_xent_of_opposite_things():
    for temperature in (0.5, 1.0):
        expected = np.log1p(2 * np.exp(-2 / temperature))
        loss = pairs.nt_xent(VIEWS, THINGS, temperature=temperature)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_nt_xent_keeps_its_digits_when_confident():
    """Cosines 1 and -1 at temperature 0.05: a loss of 2 exp(-40), which 1 + x would swallow."""
    value, slope = jax.value_and_grad(
        lambda temperature: pairs.nt_xent(VIEWS, THINGS, temperature=temperature)
    )(0.05)
    np.testing.assert_allclose(value, 2 * np.exp(-40), rtol=2e-5)
    np.testing.assert_allclose(slope, 2 * np.exp(-40) * 2 / 0.05**2, rtol=2e-5)


def test_nt_xent_has_one_positive_in_each_denominator():
    """Three equal views and one orthogonal stranger: the other positive does not compete."""
    views = jnp.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    losses = pairs.nt_xent(views, jnp.array([4, 4, 4, -7]), temperature=0.5, reduction="none")
    positive = np.zeros((4, 4))
    positive[:3, :3] = 1 - np.eye(3)
    np.testing.assert_allclose(losses, positive * np.log1p(np.exp(-2)), rtol=1e-6)


def test_nt_xent_averages_over_positive_pairs():
    embeddings = jax.random.normal(jax.random.key(0), (6, 3))
    labels = jnp.array([0, 0, 1, 1, 1, 2])  # 2 + 6 ordered pairs
    losses = pairs.nt_xent(embeddings, labels, reduction="none")
    np.testing.assert_allclose(pairs.nt_xent(embeddings, labels), losses.sum() / 8, rtol=1e-6)


def test_nt_xent_agrees_with_optax_on_the_mean():
    embeddings = jax.random.normal(jax.random.key(1), (7, 4))
    labels = jnp.array([0, 0, 1, 1, 1, 2, -5])
    ours = jax.value_and_grad(pairs.nt_xent)(embeddings, labels, temperature=0.3)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        optax_ntxent = jax.jit(jax.value_and_grad(optax.losses.ntxent))
        theirs = optax_ntxent(embeddings, labels, temperature=0.3)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6), ours, theirs)


@pytest.mark.parametrize(
    "labels", [[0, 1, 2, 3], [5, 5, 5, 5]], ids=["without positives", "without negatives"]
)
def test_nt_xent_without_pairs_to_compare_is_zero_in_every_derivative(labels):
    def loss(embeddings):
        return pairs.nt_xent(embeddings, jnp.array(labels))

    assert loss(VIEWS) == 0
    for derivative in (jax.jacrev, jax.jacfwd, jax.hessian):
        np.testing.assert_array_equal(jax.jit(derivative(loss))(VIEWS), 0)


def test_nt_xent_of_a_zero_vector_is_finite_and_leaves_it_alone():
    embeddings = VIEWS.at[0].set(0)
    value, gradient = jax.value_and_grad(pairs.nt_xent)(embeddings, THINGS, temperature=1.0)
    to_zero, among = np.log(3), np.log1p(np.exp(-1) + np.exp(-2))
    from_second = np.log1p(2 * np.exp(-1))  # cosine 0 with its partner, -1 with the strangers
    np.testing.assert_allclose(value, (to_zero + from_second + 2 * among) / 4, rtol=1e-6)
    np.testing.assert_array_equal(gradient[0], 0)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_nt_xent_knows_only_directions(scale):
    embeddings = jax.random.normal(jax.random.key(2), (4, 3))
    value, gradient = jax.value_and_grad(pairs.nt_xent)(embeddings, THINGS)
    scaled, scaled_gradient = jax.value_and_grad(pairs.nt_xent)(embeddings * scale, THINGS)
    np.testing.assert_allclose(scaled, value, rtol=1e-5)
    np.testing.assert_allclose(scaled_gradient * scale, gradient, rtol=1e-4, atol=1e-5)


def test_nt_xent_forgets_embeddings_that_do_not_exist():
    embeddings = jax.random.normal(jax.random.key(3), (6, 3))
    labels = jnp.array([0, 0, 1, 1, 0, 1])
    exists = jnp.array([True, True, True, True, False, False])
    expected, gradient = jax.value_and_grad(pairs.nt_xent)(embeddings[:4], labels[:4])
    garbage = embeddings.at[4].set(jnp.nan).at[5].set(jnp.inf)
    value, masked = jax.value_and_grad(pairs.nt_xent)(garbage, labels, where=exists)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(masked[:4], gradient, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(masked[4:], 0)


def test_nt_xent_weighs_anchors_by_a_column():
    embeddings = jax.random.normal(jax.random.key(4), (4, 3))
    losses = pairs.nt_xent(embeddings, THINGS, reduction="none")
    weights = jnp.array([[0.3], [0.7], [0.0], [2.0]])
    weighed = pairs.nt_xent(embeddings, THINGS, weights=weights)
    np.testing.assert_allclose(weighed, (weights * losses).sum() / 3, rtol=1e-6)


def test_nt_xent_needs_memory_for_pairs_not_for_triples():
    batch = 256
    gradient = jax.jit(jax.grad(pairs.nt_xent))
    compiled = gradient.lower(jnp.zeros((batch, 8)), jnp.arange(batch) // 4).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 8 * 4 * batch**2


@pytest.fixture
def without_shape_checks(monkeypatch):
    """What a user meets, who has no import hook that checks annotations first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pairs.triplet(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.zeros((1, 3))),
            r"triplet: shapes must be equal, got .* negatives \(1, 3\)",
        ),
        (
            lambda: pairs.nt_xent(jnp.zeros((2, 3)), jnp.zeros(3, int)),
            r"nt_xent: labels must be one per embedding: \(2,\), got \(3,\)",
        ),
        (
            lambda: pairs.nt_xent(jnp.zeros((2, 3, 4)), jnp.zeros(2, int)),
            r"nt_xent: embeddings must be of shape \(batch, features\)",
        ),
    ],
)
def test_wrong_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
