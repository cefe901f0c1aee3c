"""What no law can know about the losses between frames and texts."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxloss.losses import sequence

TEXTS = [[1, 2], [1, 1], [2], [], [3, 1, 3], [1, 1, 1]]


def padded(texts, columns=3):
    """Texts of different lengths in one array, and which of its labels exist."""
    labels = np.full((len(texts), columns), -7)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = text
    return labels, labels >= 0


def softmax(logits):
    leads = logits == logits.max(-1, keepdims=True)
    scaled = np.exp(np.where(leads, 0, logits) - np.where(leads, 0, logits.max(-1, keepdims=True)))
    return scaled / scaled.sum(-1, keepdims=True)


def enumerated(logits, text, blank=0):
    """Loss and gradient in float64 of one example, path by path."""
    p = softmax(np.asarray(logits, np.float64))
    frames, classes = p.shape
    kept, lost, share = 0.0, 0.0, np.zeros_like(p)
    for path in itertools.product(range(classes), repeat=frames):
        chance = np.prod(p[np.arange(frames), path])
        if [c for c, _ in itertools.groupby(path) if c != blank] == list(text):
            kept += chance
            share[np.arange(frames), path] += chance
        else:
            lost += chance
    if kept == 0:
        return np.inf, np.zeros_like(p)
    return -np.log1p(-lost) if lost < 0.5 else -np.log(kept), p - share / kept


@functools.cache
def compiled():
    def loss(logits, labels, exists, where):
        return sequence.ctc(logits[None], labels[None], label_where=exists[None], where=where[None])

    return jax.jit(jax.vmap(jax.value_and_grad(loss)))


def value_and_gradient(logits, labels, exists=None, where=None):
    """Of each example, compiled once for all tests that use one shape."""
    exists = np.ones(labels.shape, bool) if exists is None else exists
    where = np.ones(logits.shape[:2], bool) if where is None else where
    return compiled()(logits, labels, exists, where)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_ctc_is_exact_from_uniform_to_certain():
    """At a scale of 80 float32 holds no product of the probabilities."""
    for scale in (0.1, 1, 5, 20, 80):
        logits = scale * normal(0, 6, 5, 4)
        value, slope = value_and_gradient(logits, *padded(TEXTS))
        for i, text in enumerate(TEXTS):
            expected, gradient = enumerated(logits[i], text)
            np.testing.assert_allclose(value[i], expected, rtol=1e-6)
            np.testing.assert_allclose(slope[i], gradient, rtol=1e-5, atol=3e-7)


def test_ctc_of_a_sure_model_keeps_its_digits():
    """Losses of 1e-9, also where each of two ways to read it that are both right is likely."""
    logits = np.zeros((6, 5, 4), np.float32)
    for i, path in enumerate([[1, 0, 2, 2, 0], [1, 0, 0, 1, 0], [2, 2, 2, 0, 0], [0] * 5]):
        logits[i, np.arange(5), path] = 20 + np.arange(5)
    logits[4:, np.arange(5), [3, 3, 1, 0, 3]] = 20 + np.arange(5)
    logits[0, 2, 0] = logits[0, 2, 2]
    logits[5, 1, 1] = logits[5, 1, 3] - 0.3
    texts = [*TEXTS[:5], TEXTS[4]]
    value, slope = value_and_gradient(logits, *padded(texts))
    assert (value < 2e-8).all()
    for i, text in enumerate(texts):
        expected, gradient = enumerated(logits[i], text)
        np.testing.assert_allclose(value[i], expected, rtol=1e-6)
        sure = softmax(logits[i].astype(float)).max(-1) > 0.9
        np.testing.assert_allclose(slope[i][sure], gradient[sure], rtol=2e-6, atol=1e-16)


def test_ctc_at_ten_thousand():
    logits = 1e4 * normal(1, 6, 5, 4)
    value, slope = value_and_gradient(logits, *padded(TEXTS))
    with jax.enable_x64(True):
        expected, gradient = value_and_gradient(logits.astype(float), *padded(TEXTS))
    assert (value > 1e3).all()
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(slope, gradient, atol=1e-2)  # logits have three digits here


def test_ctc_of_infinite_logits():
    """One class ruled out, one frame decided; the last text is impossible then."""
    logits = normal(2, 6, 5, 4)
    logits[:, 1, 3], logits[:, 2, 0] = -np.inf, np.inf
    value, slope = value_and_gradient(logits, *padded(TEXTS))
    for i, text in enumerate(TEXTS):
        expected, gradient = enumerated(logits[i], text)
        np.testing.assert_allclose(value[i], expected, rtol=1e-6)
        np.testing.assert_allclose(slope[i], gradient, rtol=1e-5, atol=3e-7)
    assert value[5] == np.inf

    @jax.jit
    def forwards(logits):
        loss = functools.partial(sequence.ctc, labels=jnp.array([[1, 2]]))
        return jax.jacfwd(loss)(logits), jax.hessian(loss)(logits)

    forward, curvature = forwards(logits[:1])
    np.testing.assert_allclose(forward[0], slope[0], rtol=1e-5, atol=1e-6)
    assert jnp.isfinite(curvature).all()


def test_ctc_of_few_frames():
    logits = normal(3, 6, 5, 4)
    for frames in (1, 2, 3):
        where = np.broadcast_to(np.arange(5) < frames, (6, 5))
        value, slope = value_and_gradient(logits, *padded(TEXTS), where)
        for i, text in enumerate(TEXTS):
            expected, gradient = enumerated(logits[i, :frames], text)
            needed = len(text) + sum(a == b for a, b in itertools.pairwise(text))
            assert (expected == np.inf) == (needed > frames)
            np.testing.assert_allclose(value[i], expected, rtol=1e-6)
            np.testing.assert_allclose(slope[i, :frames], gradient, rtol=1e-5, atol=3e-7)
            assert (slope[i, frames:] == 0).all()


@pytest.mark.usefixtures("as_users_run_it")
def test_what_cannot_be_read_may_be_ignored():
    labels, exists = padded(TEXTS)
    loss: Any = functools.partial(sequence.ctc, normal(3, 6, 2, 4), labels, label_where=exists)
    losses = loss(reduction="none")
    possible = np.isfinite(losses)
    assert 0 < possible.sum() < 6
    np.testing.assert_allclose(loss(impossible="ignored"), losses[possible].mean(), rtol=1e-6)
    assert loss() == jnp.inf
    with pytest.raises(ValueError, match="ctc: impossible must be 'infinite' or 'ignored', got 'z"):
        loss(impossible="zero")


def test_an_empty_text_is_all_blanks():
    logits, labels = normal(4, 2, 3, 4), np.zeros((2, 0), int)
    losses = sequence.ctc(logits, labels, blank=2, reduction="none")
    expected = -jax.nn.log_softmax(logits)[..., 2].sum(-1)
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_what_is_masked_is_removed_wherever_it_is():
    """Frames and labels in the middle, too."""
    logits = normal(5, 6, 5, 4)
    labels = np.array([[1, 9, 1], [-5, 3, 3], [1, 2, 3], [9, 9, 1], [2, 1, 9], [9, 2, 9]])
    exists = (labels > 0) & (labels < 4)
    where = np.ones((6, 5), bool)
    where[0, [0]] = where[1, [4]] = where[2, [1, 2]] = where[3, [0, 2, 4]] = where[4, 3] = False
    logits[~where] = np.nan
    value, slope = value_and_gradient(logits, labels, exists, where)
    assert (slope[~where] == 0).all()
    for i in range(6):
        expected, gradient = enumerated(logits[i][where[i]], labels[i][exists[i]])
        np.testing.assert_allclose(value[i], expected, rtol=1e-6)
        np.testing.assert_allclose(slope[i][where[i]], gradient, rtol=1e-5, atol=3e-7)


def test_invalid_labels_are_not_learned_from():
    labels = np.array([[1, 2, 1], [1, 2, 4], [-1, 1, 2], [2, 1, 0], [3, 2, 1], [2, 0, 1]])
    value, slope = value_and_gradient(normal(6, 6, 5, 4), labels)
    np.testing.assert_array_equal(np.isnan(value), [0, 1, 1, 1, 0, 1])
    np.testing.assert_array_equal(np.isnan(slope).all((1, 2)), [0, 1, 1, 1, 0, 1])
    checked = checkify.checkify(sequence.ctc)
    must = r"ctc: labels must lie in \[0, 4\) and not be blank, got 0"
    with pytest.raises(checkify.JaxRuntimeError, match=must):
        checked(jnp.zeros((1, 5, 4)), labels[3:4])[0].throw()
    with pytest.raises(checkify.JaxRuntimeError, match=r"ctc: blank must lie in \[0, 4\), got 5"):
        checked(jnp.zeros((1, 5, 4)), labels[:1], blank=5)[0].throw()


def test_blank_is_traced():
    logits, labels = normal(6, 1, 4, 4), jnp.array([[1, 2]])
    swept = jax.vmap(lambda blank: sequence.ctc(logits, labels, blank=blank))(jnp.array([0, 3, 4]))
    each = [enumerated(logits[0], [1, 2], blank)[0] for blank in (0, 3)]
    np.testing.assert_allclose(swept, [*each, np.nan], rtol=1e-6)


def test_thousands_of_frames():
    """Logarithms in float32, of some -2000, would leave four digits of the gradient."""
    logits = normal(7, 1, 2000, 8)
    labels = np.random.default_rng(7).integers(1, 8, (1, 200))
    value, slope = value_and_gradient(logits, labels)
    with jax.enable_x64(True):
        expected, gradient = value_and_gradient(logits.astype(float), labels)
    np.testing.assert_allclose(value, expected, rtol=3e-7)
    np.testing.assert_allclose(slope, gradient, rtol=1e-4, atol=2e-6)


def test_memory_grows_with_frames_times_labels():
    loss = functools.partial(sequence.ctc, labels=np.ones((4, 50), int))
    shape = jax.ShapeDtypeStruct((4, 200, 8), jnp.float32)
    memory = jax.jit(jax.grad(loss)).lower(shape).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 14 * 4 * (4 * 200 * 51)


def test_ctc_forward_ends_in_the_loss():
    logits, (labels, exists) = normal(8, 2, 4, 4), padded([[1, 2], [3]], 2)
    states = sequence.ctc_forward(logits, labels, label_where=exists)
    assert states.shape == (2, 4, 5)
    for row, text, frames in zip(states, ([1, 2], [3]), logits, strict=True):
        count, first = len(text), jax.nn.log_softmax(frames[0])
        np.testing.assert_allclose(row[0, :2], first[jnp.array([0, text[0]])], rtol=1e-6)
        assert (row[0, 2:] == -jnp.inf).all()
        end = jnp.logaddexp(row[-1, 2 * count], row[-1, 2 * count - 1])
        np.testing.assert_allclose(-end, enumerated(frames, text)[0], rtol=1e-6)


@pytest.mark.oracles
@pytest.mark.usefixtures("as_others_promote")
def test_ctc_forward_is_that_of_optax():
    """But for the last frame, where it adds to each blank the label before."""
    optax = pytest.importorskip("optax")
    logits, labels = normal(9, 2, 6, 4), np.array([[1, 3], [2, 2]])
    absent = np.zeros((2, 6)), np.zeros((2, 2))
    _, *theirs = optax.ctc_loss_with_forward_probs(logits, absent[0], labels, absent[1])
    blank, label = (np.moveaxis(np.asarray(x), 0, 1) for x in theirs)
    ours = np.asarray(sequence.ctc_forward(logits, labels))
    for mine, other in ((ours[:, :-1, ::2], blank[:, :-1]), (ours[..., 1::2], label)):
        exists = mine > -np.inf
        np.testing.assert_allclose(mine[exists], other[exists], rtol=1e-5)


GRID = [[1, 2, 1], [1], [], [2, 2, 3]]


def enumerated_grid(logits, text, blank=0):
    """Loss and gradient in float64 of one example of a transducer, path by path."""
    p = softmax(np.asarray(logits, np.float64))
    frames, share, occupied = len(p), np.zeros_like(p), np.zeros(p.shape[:2])
    for times in itertools.combinations_with_replacement(range(frames), len(text)):
        before = [sum(time < t for time in times) for t in range(frames + 1)]
        choices = [(t, u, text[u]) for u, t in enumerate(times)]
        choices += [(t, before[t + 1], blank) for t in range(frames)]
        chance = np.prod([p[choice] for choice in choices])
        for choice in choices:
            share[choice] += chance
            occupied[choice[:2]] += chance
    kept = share[-1, -1, blank]
    if kept == 0:
        return np.inf, np.zeros_like(p)
    return -np.log(kept), occupied[..., None] / kept * p - share / kept


@functools.cache
def compiled_transducer():
    def loss(logits, labels, exists, where):
        return sequence.transducer(
            logits[None], labels[None], label_where=exists[None], where=where[None]
        )

    return jax.jit(jax.vmap(jax.value_and_grad(loss)))


def of_transducer(logits, texts=GRID, where=None):
    where = np.ones(logits.shape[:2], bool) if where is None else where
    return compiled_transducer()(logits, *padded(texts), where)


def test_transducer_is_exact_from_uniform_to_certain():
    """At the largest scale a path has a probability of e^-1000."""
    for scale in (0.1, 1, 5, 20, 80):
        logits = scale * normal(20, 4, 5, 4, 4)
        value, slope = of_transducer(logits)
        for i, text in enumerate(GRID):
            there = slice(len(text) + 1)
            expected, gradient = enumerated_grid(logits[i, :, there], text)
            np.testing.assert_allclose(value[i], expected, rtol=1e-6)
            np.testing.assert_allclose(slope[i, :, there], gradient, rtol=1e-5, atol=3e-7)


def test_transducer_of_a_sure_model_keeps_its_digits():
    """Each cell that the path goes through is sure; so the loss is 1e-8."""
    logits, path = np.zeros((4, 5, 4, 4), np.float32), 22 + np.arange(5, dtype=np.float32)
    logits[0, :, 3, 0] = logits[1, :, 1, 0] = logits[2, :, 0, 0] = logits[3, :, 3, 0] = path
    for i, text in enumerate(GRID):
        for u, label in enumerate(text):
            logits[i, 0, u, label] = 20
    value, slope = of_transducer(logits)
    assert (value < 1e-7).all()
    for i, text in enumerate(GRID):
        there = slice(len(text) + 1)
        expected, gradient = enumerated_grid(logits[i, :, there], text)
        np.testing.assert_allclose(value[i], expected, rtol=1e-5)
        np.testing.assert_allclose(slope[i, :, there], gradient, rtol=1e-4, atol=1e-14)


def test_transducer_at_ten_thousand():
    logits = 1e4 * normal(21, 4, 5, 4, 4)
    value, slope = of_transducer(logits)
    with jax.enable_x64(True):
        expected, gradient = of_transducer(logits.astype(float))
    assert (value > 1e3).all()
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(slope, gradient, atol=1e-2)  # logits have three digits here


def test_transducer_of_infinite_logits():
    """One class ruled out, one cell decided; the first and the last text are impossible then."""
    logits = normal(22, 4, 5, 4, 4)
    logits[..., 3], logits[:, 2, 0, 0], logits[0, ..., 2] = -np.inf, np.inf, -np.inf
    value, slope = of_transducer(logits)
    for i, text in enumerate(GRID):
        there = slice(len(text) + 1)
        expected, gradient = enumerated_grid(logits[i, :, there], text)
        np.testing.assert_allclose(value[i], expected, rtol=1e-6)
        np.testing.assert_allclose(slope[i, :, there], gradient, rtol=1e-5, atol=3e-7)
    np.testing.assert_array_equal(np.isinf(value), [1, 0, 0, 1])


def test_garbage_beyond_the_lengths_of_a_transducer_is_removed():
    """Frames may be missing anywhere, positions at the end."""
    logits = normal(23, 4, 5, 4, 4)
    where = np.ones((4, 5), bool)
    where[0, 0] = where[1, 2] = where[2, 4] = where[3, [1, 3]] = False
    exists = where[..., None] & (np.arange(4) <= np.array([len(x) for x in GRID])[:, None, None])
    logits[~exists] = np.nan
    value, slope = of_transducer(logits, where=where)
    assert (slope[~exists] == 0).all()
    for i, text in enumerate(GRID):
        there = slice(len(text) + 1)
        expected, gradient = enumerated_grid(logits[i, where[i], there], text)
        np.testing.assert_allclose(value[i], expected, rtol=1e-6)
        np.testing.assert_allclose(slope[i, where[i], there], gradient, rtol=1e-5, atol=3e-7)


def test_invalid_labels_of_a_transducer_are_not_learned_from():
    labels, logits = np.array([[1, 2, 1], [1, 4, 1], [0, 1, 1], [1, -1, 1]]), normal(24, 4, 5, 4, 4)
    everything = np.ones((4, 3), bool), np.ones((4, 5), bool)
    value, slope = compiled_transducer()(logits, labels, *everything)
    np.testing.assert_array_equal(np.isnan(value), [0, 1, 1, 1])
    np.testing.assert_array_equal(np.isnan(slope).all((1, 2, 3)), [0, 1, 1, 1])
    everything[0][0, 1] = False  # a gap: after which label are the logits of position 2?
    value, _ = compiled_transducer()(logits, labels, *everything)
    assert np.isnan(value[0])


def test_a_transducer_stores_nothing_as_large_as_the_logits_but_their_gradient():
    loss = functools.partial(sequence.transducer, labels=np.ones((2, 12), int))
    shape = jax.ShapeDtypeStruct((2, 60, 13, 256), jnp.float32)
    for function in (loss, jax.grad(loss)):
        memory = jax.jit(function).lower(shape).compile().memory_analysis()
        assert memory is not None
        frame = 2 * 13 * 256
        assert memory.temp_size_in_bytes < 4 * (24 * 2 * 60 * 13 + 3 * frame)


def test_additive_transducer_is_that_of_the_sums():
    """With garbage beyond the lengths, and at logits of 10,000."""
    frames, positions = normal(25, 4, 5, 4), normal(26, 4, 4, 4)
    where = np.ones((4, 5), bool)
    where[0, 0] = where[1, 2] = where[2, 4] = where[3, [1, 3]] = False
    labels, exists = padded(GRID)
    beyond = np.arange(4) > np.array([len(x) for x in GRID])[:, None]
    options = {"labels": labels, "label_where": exists, "where": where}

    def dense(frames, positions):
        return sequence.transducer(frames[:, :, None] + positions[:, None], **options)

    lean = functools.partial(sequence.additive_transducer, **options)
    dense, lean = (jax.jit(jax.value_and_grad(loss, (0, 1))) for loss in (dense, lean))
    for scale in (1, 1e4):
        f, g = np.float32(scale) * frames, np.float32(scale) * positions
        f[~where], g[beyond] = np.nan, np.inf
        (expected, wanted), (value, found) = dense(f, g), lean(f, g)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        assert (found[0][~where] == 0).all()
        assert (found[1][beyond] == 0).all()


def test_additive_transducer_stores_no_array_of_all_three():
    loss = functools.partial(sequence.additive_transducer, labels=np.ones((2, 12), int))
    shapes = [jax.ShapeDtypeStruct((2, size, 256), jnp.float32) for size in (40, 13)]
    memory = jax.jit(jax.grad(loss, (0, 1))).lower(*shapes).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 4 * (30 * 2 * 40 * 13 + 8 * 2 * 53 * 256)
