"""What no law can know about chains of labels."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxloss.losses import classification, tagging
from tests.oracles.tagging import of_short_chains, score


def enumerated(logits, labels, transitions):
    """Loss, its gradients and the marginals in float64 of one example, chain by chain."""
    logits, transitions = np.asarray(logits, np.float64), np.asarray(transitions, np.float64)
    chains = list(itertools.product(range(logits.shape[1]), repeat=len(logits)))
    scores = np.array([score(logits, chain, transitions) for chain in chains])
    scores -= score(logits, labels, transitions)
    chances = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    marginals, pairs = np.zeros(logits.shape), np.zeros(transitions.shape)
    for chain, chance in zip([*chains, labels], [*chances, -1], strict=True):
        marginals[np.arange(len(chain)), chain] += chance
        np.add.at(pairs, (chain[:-1], chain[1:]), chance)
    others = np.sort(scores[[tuple(chain) != tuple(labels) for chain in chains]])
    top = max(others[-1], 0)
    loss = top + np.log1p(np.exp(others - top).sum() + np.expm1(-top))
    return loss, marginals, pairs


@functools.cache
def compiled():
    loss = functools.partial(tagging.crf, reduction="none")

    def total(logits, transitions, labels, where):
        losses = loss(logits, labels, transitions, where=where)
        return losses.sum(), losses

    return jax.jit(jax.grad(total, (0, 1), has_aux=True))


def test_crf_is_exact_from_uniform_to_certain():
    """At the largest scale a path has a probability of e^-10000."""
    logits, labels, transitions = of_short_chains()
    where = np.arange(5) < np.array([5, 4, 1, 3])[:, None]
    for scale in (0.01, 1, 10, 1e4):
        z, a = np.float32(scale) * logits, np.float32(scale) * transitions
        (in_logits, in_transitions), losses = compiled()(z, a, labels, where)
        each = [enumerated(z[i][w], labels[i][w], a) for i, w in enumerate(where)]
        np.testing.assert_allclose(losses, [x[0] for x in each], rtol=1e-6)
        coarse = 3e-7 if scale < 100 else 2e-3  # of such logits the last digit is 1e-3
        for found, w, (_, slope, _) in zip(in_logits, where, each, strict=True):
            np.testing.assert_allclose(found[w], slope, rtol=1e-5, atol=coarse)
            assert (found[~w] == 0).all()
        pairs = sum(x[2] for x in each)
        np.testing.assert_allclose(in_transitions, pairs, rtol=1e-5, atol=5 * coarse)


def test_crf_of_a_sure_model_keeps_its_digits():
    _, labels, transitions = of_short_chains()
    logits = 24 * np.eye(3, dtype=np.float32)[labels]
    (in_logits, _), losses = compiled()(logits, transitions, labels, np.ones((4, 5), bool))
    assert (losses < 1e-7).all()
    for i, (loss, slope) in enumerate(zip(losses, in_logits, strict=True)):
        expected, _, _ = enumerated(logits[i], labels[i], transitions)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        at_labels = slope[np.arange(5), labels[i]]
        assert (at_labels < 0).all()
        assert (at_labels > -1e-7).all()


def test_equal_transitions_leave_a_cross_entropy_per_frame():
    logits, labels, _ = of_short_chains()
    value = tagging.crf(logits, labels, jnp.full((3, 3), 2.0), reduction="sum")
    expected = classification.softmax_cross_entropy(logits, labels, reduction="sum")
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_frames_around_one_that_does_not_exist_are_neighbors():
    logits, labels, transitions = of_short_chains()
    where = np.ones((4, 5), bool)
    where[0, 0] = where[1, 2] = where[2, 4] = where[3, 1] = where[3, 2] = False
    dirty = np.where(where[..., None], logits, np.nan)
    _, losses = compiled()(dirty, transitions, np.where(where, labels, 77), where)
    marginals = tagging.crf_marginals(dirty, transitions, where=where)
    best, scores = tagging.viterbi(dirty, transitions, where=where)
    for i, w in enumerate(where):
        loss, slope, _ = enumerated(logits[i][w], labels[i][w], transitions)
        np.testing.assert_allclose(losses[i], loss, rtol=1e-6)
        one_hots = np.eye(3)[labels[i][w]]
        np.testing.assert_allclose(marginals[i][w], slope + one_hots, rtol=1e-5, atol=1e-7)
        chains = itertools.product(range(3), repeat=int(w.sum()))
        likeliest = max(chains, key=lambda chain: score(logits[i][w], chain, transitions))
        np.testing.assert_array_equal(best[i][w], likeliest)
        np.testing.assert_allclose(
            scores[i], score(logits[i][w], likeliest, transitions), rtol=1e-6
        )
        assert (best[i][~w] == -1).all()
        assert (marginals[i][~w] == 0).all()


def test_what_is_ruled_out_costs_infinity_and_teaches_nothing():
    logits, labels, transitions = of_short_chains()
    labels[0, :2], labels[1:] = [1, 2], 0
    transitions[1, 2] = -np.inf
    where = np.ones((4, 5), bool)
    (in_logits, in_transitions), losses = compiled()(logits, transitions, labels, where)
    np.testing.assert_array_equal(np.isinf(losses), [1, 0, 0, 0])
    assert (in_logits[0] == 0).all()
    assert np.isfinite(in_logits).all()
    assert np.isfinite(in_transitions).all()
    assert (in_logits[1:] != 0).all()
    marginals = tagging.crf_marginals(logits, jnp.full((3, 3), -jnp.inf))  # nothing is possible
    assert np.isfinite(marginals).all()
    (slopes, _), losses = compiled()(logits, np.full((3, 3), -np.inf, np.float32), labels, where)
    assert (losses == np.inf).all()
    assert (slopes == 0).all()


def test_an_infinite_logit_decides_a_frame():
    logits, labels, transitions = of_short_chains()
    logits[:, 2, 1], transitions[0, 1] = np.inf, -np.inf
    labels[:] = [1, 1, 1, 2, 0]
    (slopes, _), losses = compiled()(logits, transitions, labels, np.ones((4, 5), bool))
    finite = np.where(np.isinf(logits), 1e3, logits)
    for i in range(4):
        expected, slope, _ = enumerated(finite[i], labels[i], np.maximum(transitions, -1e4))
        np.testing.assert_allclose(losses[i], expected, rtol=1e-6)
        np.testing.assert_allclose(slopes[i], slope, rtol=1e-5, atol=3e-7)


def test_invalid_labels_are_not_learned_from():
    logits, labels, transitions = of_short_chains()
    labels[1, 3], labels[2, 0] = 3, -1
    (slopes, _), losses = compiled()(logits, transitions, labels, np.ones((4, 5), bool))
    np.testing.assert_array_equal(np.isnan(losses), [0, 1, 1, 0])
    np.testing.assert_array_equal(np.isnan(slopes).all((1, 2)), [0, 1, 1, 0])
    with pytest.raises(checkify.JaxRuntimeError, match=r"crf: labels must lie in \[0, 3\), got 3"):
        checkify.checkify(tagging.crf)(logits, labels[:2].repeat(2, 0), transitions)[0].throw()


def test_memory_does_not_grow_with_pairs_times_frames():
    def loss(logits, transitions):
        return tagging.crf(logits, jnp.zeros((2, 400), jnp.int32), transitions)

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 400, 32), (32, 32))]
    memory = jax.jit(jax.grad(loss, (0, 1))).lower(*shapes).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 4 * (10 * 2 * 400 * 32 + 20 * 2 * 32 * 32)


@pytest.mark.usefixtures("as_users_run_it")
def test_shapes_are_named():
    with pytest.raises(ValueError, match=r"viterbi: transition_logits must be one row and one col"):
        tagging.viterbi(jnp.zeros((1, 2, 3)), jnp.zeros((2, 2)))
