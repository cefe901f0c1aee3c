"""Balancers against their papers, in double precision, by other means than their own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxloss import compose
from jaxloss.compose import Gram, combined, gram, term_gradients, weighted
from jaxloss.compose.gram import gram_of

SEEDS = range(6)
BALANCERS = {
    "uncertainty": compose.uncertainty(),
    "dwa": compose.dwa(),
    "famo": compose.famo(),
    "gradnorm": compose.gradnorm(),
    "pcgrad": compose.pcgrad(jax.random.key(0)),
    "mgda": compose.mgda(),
    "cagrad": compose.cagrad(),
    "nash": compose.nash(),
}
every_balancer = pytest.mark.parametrize("name", BALANCERS)
of_gradients = pytest.mark.parametrize("name", ["pcgrad", "mgda", "cagrad", "nash"])


def drawn(seed, count, size=200):
    """Gradients that conflict and agree, of lengths that differ by up to 10^4."""
    random = np.random.default_rng(seed)
    common = random.normal(size=size)
    gradients = random.normal(size=(count, size)) + random.normal(size=(count, 1)) * common
    return (gradients * 10 ** random.uniform(-2, 2, (count, 1))).astype(np.float32)


def unit(gradients):
    """Lengths and directions, in double precision."""
    gradients = gradients.astype(float)
    lengths = np.linalg.norm(gradients, axis=1)
    return lengths, gradients / lengths[:, None]


@functools.cache
def compiled(balancer):
    return jax.jit(balancer.update)


measured_by = jax.jit(gram)


def weights_of(balancer, gradients, state=None):
    count = len(gradients)
    state = balancer.init(count) if state is None else state
    _, weights = compiled(balancer)(state, jnp.ones(count), measured_by(jnp.asarray(gradients)))
    return np.asarray(weights, float)


def constrained(overlaps, radius, cosines, costs):
    """The minimum of overlaps @ y + radius |y| over y >= 0 with costs @ y = 1, by SLSQP."""

    def function(y):
        return overlaps @ y + radius * np.sqrt(y @ cosines @ y)

    def slope(y):
        return overlaps + radius * cosines @ y / np.sqrt(y @ cosines @ y)

    best = np.inf
    for start in np.random.default_rng(0).random((3, len(costs))) + 0.1:
        found = scipy.optimize.minimize(
            function,
            start / (costs @ start),
            jac=slope,
            bounds=[(0, None)] * len(costs),
            constraints={"type": "eq", "fun": lambda y: costs @ y - 1, "jac": lambda y: costs},
            options={"ftol": 1e-16, "maxiter": 2000},
            method="SLSQP",
        )
        y = np.maximum(found.x, 0)
        best = min(best, function(y / (costs @ y)))
    return best


def test_lengths_and_angles_at_any_scale():
    gradients = drawn(0, 3)
    lengths, directions = unit(gradients)
    for scale in (1e-30, 1.0, 1e30):
        tree = {"a": gradients[:, :150].reshape(3, 15, 10), "b": gradients[:, 150:]}
        found = gram(jax.tree.map(lambda x, s=scale: jnp.asarray(x * np.float32(s)), tree))
        np.testing.assert_allclose(found.lengths, lengths * scale, rtol=1e-5)
        np.testing.assert_allclose(found.cosines, directions @ directions.T, atol=1e-6)
        np.testing.assert_array_equal(jnp.diagonal(found.cosines), 1)
    half = gram(jnp.asarray(gradients, jnp.bfloat16))
    assert half.cosines.dtype == jnp.float32
    np.testing.assert_allclose(half.cosines, directions @ directions.T, atol=1e-2)
    found = gram_of(jnp.array([[4.0, 2.0], [2.0, 4.0]]))
    np.testing.assert_allclose(found.cosines, [[1, 0.5], [0.5, 1]])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_sharded_gradients_exchange_inner_products_only(kind):
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind, kind))
    gradients = drawn(1, 3, 8 * 16).reshape(3, 8, 16)
    balancer = compose.nash()

    @jax.jit
    def combine(gradients):
        _, weights = balancer.update(balancer.init(3), jnp.ones(3), gram(gradients))
        return combined(gradients, weights)

    expected = combine({"a": jnp.asarray(gradients)})["a"]
    with jax.set_mesh(mesh):
        sharding = NamedSharding(mesh, PartitionSpec(None, "x", "y"))
        placed = {"a": jax.device_put(gradients, sharding)}
        np.testing.assert_allclose(combine(placed)["a"], expected, rtol=1e-4, atol=1e-6)
        assert "all-gather" not in str(combine.lower(placed).compile().as_text())


def test_terms_and_their_gradients():
    objective = weighted(
        {"near": lambda x, y: ((x - y) ** 2).sum(), "small": lambda x, y: jnp.abs(x).sum()},
        weights={"small": lambda step: 0.5 * step},
    )
    x = jnp.array([1.0, -2.0])
    losses, gradients = jax.jit(
        lambda x: term_gradients(objective, x, jnp.zeros(2), step=jnp.float32(4))
    )(x)
    np.testing.assert_allclose(losses, [5, 6])
    np.testing.assert_allclose(gradients, [[2, -4], [2, -2]])
    np.testing.assert_allclose(combined(gradients, jnp.array([1.0, 0.5])), [3, -5])


@pytest.mark.parametrize("count", [2, 3, 8])
def test_pcgrad_is_the_algorithm_on_vectors(count):
    for seed in SEEDS:
        gradients = drawn(seed, count)
        key = jax.random.key(seed)
        keys = jax.random.split(jax.random.fold_in(key, 0), count)
        vectors = gradients.astype(float)
        total = np.zeros_like(vectors[0])
        for number in range(count):
            left = vectors[number].copy()
            for other in np.asarray(jax.random.permutation(keys[number], count)):
                overlap = left @ vectors[other]
                if other != number and overlap < 0:
                    left -= overlap / (vectors[other] @ vectors[other]) * vectors[other]
            total += left
        state = BALANCERS["pcgrad"].init(count)._replace(key=key)
        found = weights_of(BALANCERS["pcgrad"], gradients, state) @ vectors
        assert np.abs(found - total).max() <= 1e-6 * np.abs(total).max()


def test_pcgrad_draws_new_orders():
    balancer = compose.pcgrad(jax.random.key(3))
    measured = gram(jnp.asarray(drawn(3, 5)))
    state, drawn_weights = balancer.init(5), []
    for _ in range(6):
        state, weights = jax.jit(balancer.update)(state, jnp.ones(5), measured)
        drawn_weights.append(tuple(np.asarray(weights)))
    assert int(state.step) == 6
    assert len(set(drawn_weights)) > 1


@pytest.mark.parametrize("count", [2, 3, 8])
def test_mgda_finds_the_shortest_mean(count):
    for seed in SEEDS:
        gradients = drawn(seed, count)
        lengths, directions = unit(gradients)
        cosines, costs = directions @ directions.T, lengths.min() / lengths
        best = constrained(np.zeros(count), 1.0, cosines, costs) ** 2
        weights = weights_of(BALANCERS["mgda"], gradients)
        assert weights.sum() == pytest.approx(1, abs=1e-6)
        assert (weights >= 0).all()
        found = ((weights @ gradients.astype(float)) ** 2).sum() / lengths.min() ** 2
        assert found <= best * (1 + 1e-5)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_cagrad_helps_the_worst_off_as_far_as_it_may(count):
    for seed in SEEDS:
        gradients = drawn(seed, count)
        lengths, directions = unit(gradients)
        vectors, mean = gradients.astype(float), gradients.astype(float).mean(0)
        size = np.linalg.norm(mean)
        direction = weights_of(BALANCERS["cagrad"], gradients) @ vectors
        assert np.linalg.norm(direction - mean) == pytest.approx(0.4 * size, rel=1e-4)

        # the dual bounds from above what the worst off can have
        cosines, costs = directions @ directions.T, lengths.min() / lengths
        overlaps = directions @ mean / size
        bound = constrained(overlaps, 0.4, cosines, costs)
        worst = (vectors @ direction).min() / (lengths.min() * size)
        assert worst == pytest.approx(bound, abs=1e-4 * (1 + abs(bound)))


def test_cagrad_without_a_radius_is_the_mean():
    weights = weights_of(compose.cagrad(radius=0.0), drawn(0, 3))
    np.testing.assert_allclose(weights, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_nash_solves_its_equations_at_any_scale(count):
    for seed in SEEDS:
        gradients = drawn(seed, count)
        vectors = gradients.astype(float)
        weights = weights_of(BALANCERS["nash"], gradients)
        assert (weights > 0).all()
        np.testing.assert_allclose(weights * (vectors @ vectors.T @ weights), 1, atol=1e-4)
        scale = 10 ** np.random.default_rng(seed).uniform(-8, 8, (count, 1)).astype(np.float32)
        scaled = weights_of(BALANCERS["nash"], gradients * scale)
        np.testing.assert_allclose(scaled * scale[:, 0], weights, rtol=1e-3)


@every_balancer
@pytest.mark.parametrize("count", [1, 2, 5])
def test_no_gradient_and_equal_gradients(name, count):
    balancer = BALANCERS[name]
    zero = weights_of(balancer, np.zeros((count, 7), np.float32))
    np.testing.assert_allclose(zero, zero[0])
    assert zero[0] > 0
    same = weights_of(balancer, np.ones((count, 7), np.float32))
    assert (same > 0).all()
    # only the sum of the weights matters then
    sums = {"famo": 1, "mgda": 1, "cagrad": 1.4, "nash": (count / 7) ** 0.5}
    assert same.sum() == pytest.approx(sums.get(name, count), rel=1e-4)


@of_gradients
def test_opposite_and_partly_zero_gradients(name):
    opposite = weights_of(BALANCERS[name], np.array([[1.0, 0], [-1, 0]], np.float32))
    assert np.isfinite(opposite).all()
    assert abs(opposite @ [1, -1]) < 1e-2
    partly = weights_of(BALANCERS[name], np.array([[0, 0], [3, 0], [0, 1]], np.float32))
    assert np.isfinite(partly).all()
    if name == "mgda":  # which cannot do better than to stay where one loss is at its minimum
        np.testing.assert_array_equal(partly, [1, 0, 0])
    else:
        alone = weights_of(BALANCERS[name], np.array([[3, 0], [0, 1]], np.float32))
        ratio = partly[1:] / alone
        if name != "cagrad":  # of which the mean is over more gradients
            np.testing.assert_allclose(ratio, 1, rtol=1e-4)


@of_gradients
def test_huge_and_tiny_gradients_are_finite(name):
    for scale in (1e-30, 1e30):
        scales = np.array([[1.0], [scale]], np.float32)
        weights = weights_of(BALANCERS[name], drawn(0, 2) * scales)
        assert np.isfinite(weights).all()


def test_uncertainty_learns_one_over_each_loss():
    balancer = compose.uncertainty(optax.sgd(0.5))
    losses = jnp.array([0.2, 5.0, 1e-9, -1.0])
    state = balancer.init(4)
    state, first = balancer.update(state, losses, None)
    np.testing.assert_allclose(first[0], np.exp(0.5 * 0.8), rtol=1e-6)
    update, weights = jax.jit(balancer.update), first
    for _ in range(100):
        state, weights = update(state, losses, None)
    np.testing.assert_allclose(weights[:2], [5, 0.2], rtol=1e-4)
    np.testing.assert_allclose(weights[2:], np.exp(10), rtol=1e-4)  # bounded


def test_dwa_by_hand():
    balancer = compose.dwa(temperature=2.0, every=2)
    windows = [[[1.0, 4.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 3.0]], [[2.0, 2.0], [2.0, 2.0]]]
    state, found = balancer.init(2), []
    for losses in np.array(windows, np.float32).reshape(-1, 2):
        state, weights = jax.jit(balancer.update)(state, jnp.asarray(losses), None)
        found.append(np.asarray(weights))
    np.testing.assert_array_equal(found[:4], 1)
    ratios = np.exp(np.array([1 / 2, 2 / 4]) / 2)
    np.testing.assert_allclose(found[4], 2 * ratios / ratios.sum(), rtol=1e-6)
    _, last = balancer.update(state, jnp.ones(2), None)
    ratios = np.exp(np.array([2 / 1, 2 / 2]) / 2)
    np.testing.assert_allclose(last, 2 * ratios / ratios.sum(), rtol=1e-6)


def test_gradnorm_by_hand():
    """Against the gradient of its objective, and where that leads."""
    balancer = compose.gradnorm(optax.sgd(0.1), restoring=1.5)
    lengths = np.array([1.0, 4.0, 0.5])
    measured = Gram(jnp.float32(lengths), jnp.eye(3))
    first, losses = np.array([2.0, 1.0, 3.0]), np.array([1.0, 0.9, 2.0])
    state, _ = balancer.update(balancer.init(3), jnp.float32(first), measured)
    before = np.asarray(state.learned, float)
    sizes = lengths / lengths.mean()
    rate = losses / first / (losses / first).mean()
    target = (before * sizes).mean() * rate**1.5
    slope = np.sign(before * sizes - target) * sizes
    expected = np.maximum(before - 0.1 * slope, 0)
    state, weights = balancer.update(state, jnp.float32(losses), measured)
    np.testing.assert_allclose(weights, 3 * expected / expected.sum(), rtol=1e-5)

    balancer = compose.gradnorm(optax.sgd(0.003), restoring=0.0)
    state, update = balancer.init(3), jax.jit(balancer.update)
    for _ in range(1500):
        state, weights = update(state, jnp.ones(3), measured)
    weighed = np.asarray(weights) * lengths
    np.testing.assert_allclose(weighed / weighed.mean(), 1, atol=0.05)  # all of one length


def test_famo_is_its_algorithm():
    """With two passes over one batch, as the paper has it, where ours takes one."""

    def losses(x):
        return np.array([(x - 1) ** 2 + 0.5, 10 * (x + 1) ** 2 + 0.1])

    def slopes(x):
        return np.array([2 * (x - 1), 20 * (x + 1)])

    x, logits = 2.0, np.zeros(2)
    balancer = compose.famo(optax.sgd(0.3), decay=0.05)
    ours, state = jnp.float32(2.0), balancer.init(2)
    for _ in range(20):
        shares = np.exp(logits) / np.exp(logits).sum()
        before = losses(x)
        weights = shares / before / (shares / before).sum()
        state, found = balancer.update(state, jnp.float32(losses(float(ours))), None)
        np.testing.assert_allclose(found, weights, rtol=1e-3)
        x -= 0.01 * (weights @ slopes(x))
        ours = jnp.float32(float(ours) - 0.01 * float(np.asarray(found) @ slopes(float(ours))))
        gain = np.log(before) - np.log(losses(x))
        jacobian = np.diag(shares) - np.outer(shares, shares)
        logits -= 0.3 * (jacobian @ gain + 0.05 * logits)
    assert abs(logits[0]) > 0.01


@every_balancer
def test_in_a_loop_with_one_compilation(name):
    """Two losses whose minima differ: all settle between them."""
    balancer = BALANCERS[name]
    objective = weighted(
        {
            "left": lambda x: ((x + 1) ** 2).sum() + 0.1,
            "right": lambda x: 20 * ((x - 1) ** 2).sum() + 0.1,
        }
    )
    traces = []

    @jax.jit
    def run(x, state):
        traces.append(1)

        def step(carry, rate):
            x, state = carry
            losses, gradients = term_gradients(objective, x)
            measured = gram(gradients) if balancer.needs_gradients else None
            state, weights = balancer.update(state, losses, measured)
            return (x - rate * combined(gradients, weights), state), losses

        return jax.lax.scan(step, (x, state), jnp.linspace(0.02, 0, 400))

    (x, _), losses = run(jnp.array([3.0, -2.0]), balancer.init(2))
    run(jnp.array([2.0, -2.0]), balancer.init(2))
    assert len(traces) == 1
    assert jnp.isfinite(losses).all()
    assert (jnp.abs(x) <= 1.1).all()


@pytest.mark.parametrize("name", ["gradnorm", "pcgrad", "mgda", "cagrad", "nash"])
def test_gradients_that_are_needed_are_asked_for(name):
    balancer = BALANCERS[name]
    assert balancer.needs_gradients
    with pytest.raises(ValueError, match=f"{name}: gram must be given"):
        balancer.update(balancer.init(2), jnp.ones(2), None)
