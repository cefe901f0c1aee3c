"""What no law can know about the losses that tell each thing of a batch from all the others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import contrastive, pairs

ONE, OTHER = jax.random.normal(jax.random.key(0), (2, 6, 4))
VIEWS = jnp.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]])
THINGS = jnp.array([0, 0, 1, 1])
TOWERS = [contrastive.clip, contrastive.siglip, contrastive.info_nce]
LABELED = [
    contrastive.supcon,
    functools.partial(contrastive.supcon, inside=True),
    contrastive.decoupled,
]


def test_clip_is_info_nce_both_ways():
    there = contrastive.info_nce(ONE, OTHER, temperature=0.3, reduction="none")
    back = contrastive.info_nce(OTHER, ONE, temperature=0.3, reduction="none")
    both = contrastive.clip(ONE, OTHER, temperature=0.3, reduction="none")
    np.testing.assert_allclose(both, (there + back) / 2, rtol=1e-6)


def test_info_nce_is_an_uncorrected_sampled_softmax_of_unit_vectors():
    one, other = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (ONE, OTHER))
    for labels in (None, jnp.array([0, 1, 0, 2, 1, 3])):
        options = {"temperature": 0.3, "labels": labels, "reduction": "none"}
        expected = contrastive.sampled_softmax(one, other, jnp.full(6, -2.0), **options)
        np.testing.assert_allclose(
            contrastive.info_nce(ONE, OTHER, **options), expected, rtol=2e-6, atol=1e-7
        )


def test_negatives_of_their_own_and_shared_ones_agree():
    shared = jax.random.normal(jax.random.key(1), (5, 4))
    expected = pairs.info_nce(
        ONE, OTHER, jnp.broadcast_to(shared, (6, 5, 4)), temperature=0.3, reduction="none"
    )
    queue = contrastive.info_nce(
        ONE, OTHER, negatives=shared, in_batch=False, temperature=0.3, reduction="none"
    )
    np.testing.assert_allclose(queue, expected, rtol=1e-6)


def test_a_queue_alone_must_not_be_empty():
    with pytest.raises(ValueError, match=r"^info_nce: in_batch=False must come with negatives"):
        contrastive.info_nce(ONE, OTHER, in_batch=False)


def test_supcon_of_two_views_is_nt_xent():
    labels = jnp.array([3, 1, 2, 1, 3, 2])
    expected = pairs.nt_xent(ONE, labels, temperature=0.3, reduction="none").sum(-1)
    for inside in (False, True):
        losses = contrastive.supcon(ONE, labels, temperature=0.3, inside=inside, reduction="none")
        np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_supcon_inside_the_logarithm_is_the_smaller_one():
    labels = jnp.array([0, 0, 0, 1, 1, 1])
    outside = contrastive.supcon(ONE, labels, reduction="none")
    assert (contrastive.supcon(ONE, labels, inside=True, reduction="none") < outside).all()


def test_decoupled_differs_from_nt_xent_by_the_positive_in_the_denominator():
    labels = jnp.array([3, 1, 2, 1, 3, 2])
    loss = contrastive.decoupled(ONE, labels, temperature=0.3, reduction="none")
    expected = pairs.nt_xent(ONE, labels, temperature=0.3, reduction="none")
    positive = (labels[:, None] == labels[None, :]) & ~jnp.eye(6, dtype=bool)
    np.testing.assert_allclose(
        jnp.where(positive, jax.nn.softplus(loss), 0), expected, rtol=2e-6, atol=1e-7
    )


@pytest.mark.parametrize("loss", TOWERS)
def test_what_is_sure_keeps_its_digits(loss):
    """Orthogonal things at temperature 0.02: e^-50 each, in value and slope."""

    def at(temperature):
        options = {"bias": -25.0} if loss is contrastive.siglip else {}
        return loss(jnp.eye(3), 5 * jnp.eye(3), temperature=temperature, **options)

    value, slope = jax.value_and_grad(at)(0.02)
    if loss is contrastive.siglip:  # logits of 25 and -25
        np.testing.assert_allclose(value, 3 * np.exp(-25), rtol=5e-6)
        np.testing.assert_allclose(slope, np.exp(-25) / 0.02**2, rtol=5e-6)
    else:
        np.testing.assert_allclose(value, 2 * np.exp(-50), rtol=1e-5)
        np.testing.assert_allclose(slope, 2 * np.exp(-50) / 0.02**2, rtol=1e-5)


@pytest.mark.parametrize("loss", TOWERS)
def test_what_is_surely_wrong_is_linear(loss):
    """Everything at temperature 1e-4, where exponentials of 10^4 overflow."""
    there = jnp.eye(3)
    value, slopes = jax.value_and_grad(loss, argnums=(0, 1))(
        there, jnp.roll(there, 1, axis=0), temperature=1e-4
    )
    # of siglip the own logit is the bias, -10, and so is that of a wrong pair, but for 10^4 of one
    np.testing.assert_allclose(value, 1e4, rtol=1e-6)
    assert all(jnp.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("loss", TOWERS)
def test_only_directions_matter(loss, scale):
    value, gradient = jax.value_and_grad(loss)(ONE, OTHER)
    scaled, scaled_gradient = jax.value_and_grad(loss)(ONE * scale, OTHER / scale)
    np.testing.assert_allclose(scaled, value, rtol=1e-5)
    np.testing.assert_allclose(scaled_gradient * scale, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", TOWERS)
def test_a_zero_vector_is_orthogonal_to_all_and_left_alone(loss):
    zero = ONE.at[2].set(0)
    value, gradient = jax.value_and_grad(loss)(zero, OTHER)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[2], 0)
    if loss is contrastive.info_nce:
        losses = loss(zero, OTHER, reduction="none")
        np.testing.assert_allclose(losses[2], np.log(6), rtol=1e-6)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, 5, 5, 5]], ids=["no positive", "no negative"])
@pytest.mark.parametrize("loss", LABELED)
def test_without_pairs_to_compare_every_derivative_is_finite(loss, labels):
    def at(embeddings):
        return loss(embeddings, jnp.array(labels), temperature=0.5)

    alone = len(set(labels)) > 1
    for derivative in (lambda f: f, jax.jacrev, jax.jacfwd, jax.hessian):
        found = jax.jit(derivative(at))(VIEWS)
        assert jnp.isfinite(found).all()
        if alone or loss is contrastive.decoupled:
            np.testing.assert_array_equal(found, 0)


def test_smoothing_spreads_over_the_pairs_that_exist():
    where = jnp.array([True, False, True, True, False, True])
    smooth = functools.partial(contrastive.clip, label_smoothing=0.3, temperature=0.3)
    expected = smooth(ONE[where], OTHER[where], reduction="none")
    found = smooth(ONE.at[1].set(jnp.nan), OTHER, where=where, reduction="none")
    np.testing.assert_allclose(found[where], expected, rtol=1e-6)
    np.testing.assert_array_equal(found[~where], 0)
    np.testing.assert_allclose(
        contrastive.clip(ONE, OTHER, label_smoothing=0.0), contrastive.clip(ONE, OTHER), rtol=1e-6
    )


def test_an_item_that_comes_twice_is_not_its_own_negative():
    queries, items = jnp.eye(3)[:2], jnp.ones((2, 3))
    items_once = contrastive.sampled_softmax(queries, items, jnp.zeros(2), labels=jnp.array([7, 7]))
    assert items_once == 0
    assert contrastive.sampled_softmax(queries, items, jnp.zeros(2)) == np.float32(np.log(2))


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (contrastive.clip, {"temperature": 0.3, "label_smoothing": 0.2}),
        (contrastive.siglip, {"temperature": 0.3, "bias": -1.0}),
        (
            functools.partial(contrastive.info_nce, labels=jnp.array([0, 1, 0, 2, 1, 3])),
            {"temperature": 0.3},
        ),
    ],
)
def test_the_slopes_of_temperature_and_bias(loss, options):
    with jax.enable_x64(True):
        one, other = (jnp.asarray(np.asarray(x, np.float64)) for x in (ONE, OTHER))
        slopes = jax.grad(lambda o: loss(one, other, **o))(options)
        for option, slope in slopes.items():
            ahead, behind = (
                loss(one, other, **{**options, option: options[option] + h}) for h in (1e-5, -1e-5)
            )
            np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-7)
