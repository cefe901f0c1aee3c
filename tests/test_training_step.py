"""The train step against loops written by hand in optax, and against gradients by numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxloss import PartialMean, partial_mean
from jaxloss.compose import WeightedSum, weighted
from jaxloss.training import convergence, make_train_step
from jaxloss.training.convergence import Reason
from jaxloss.training.state import unpacked

RNG = np.random.default_rng(0)
PARAMS = {"w": RNG.normal(size=(3, 2)), "b": RNG.normal(size=2)}
PARAMS = jax.tree.map(np.float32, PARAMS)


def make_batch(seed, rows=16, kind="weights"):
    """Rows of 5 positions each, some masked; every fourth row, one micro-batch of 4, wholly."""
    rng = np.random.default_rng(seed)
    mask = rng.random((rows, 5)) < rng.choice([0.9, 0.2], size=(rows, 1))
    mask[3::4] = False
    weights = rng.exponential(size=(rows, 5)) if kind == "weights" else np.ones((rows, 5))
    batch = {"x": rng.normal(size=(rows, 5, 3)), "y": rng.normal(size=(rows, 5, 2))}
    batch = jax.tree.map(np.float32, batch) | {"weights": np.float32(weights), "mask": mask}
    return jax.tree.map(jnp.asarray, batch)


def errors(params, batch):
    return ((jnp.tanh(batch["x"] @ params["w"] + params["b"][None, None]) - batch["y"]) ** 2).sum(
        -1
    )


def mean_error(params, batch):
    """A ratio of sums over the whole batch."""
    return partial_mean(errors(params, batch), where=batch["mask"], weights=batch["weights"])


def size(params, batch):
    """A term that counts the same in each micro-batch."""
    del batch
    return PartialMean((params["w"] ** 2).sum() + (params["b"] ** 2).sum(), jnp.float32(1))


def plain(params, batch):
    return mean_error(params, batch).value()


both = weighted({"fit": mean_error, "size": size}, {"fit": 0.7, "size": 0.03})


def gradient_by_numpy(batch, size_weight, fit_weight):
    """Value and gradient of ``both`` over the full batch, in float64."""
    params = jax.tree.map(np.float64, PARAMS)
    batch = {name: np.asarray(leaf, np.float64) for name, leaf in batch.items()}
    weights = batch["weights"] * batch["mask"]
    output = np.tanh(batch["x"] @ params["w"] + params["b"])
    value = (weights * ((output - batch["y"]) ** 2).sum(-1)).sum() / weights.sum()
    slope = 2 * (output - batch["y"]) * (1 - output**2) * weights[..., None] / weights.sum()
    gradient = {
        "w": np.einsum("rpi,rpo->io", batch["x"], slope) * fit_weight,
        "b": slope.sum((0, 1)) * fit_weight,
    }
    squares = sum((leaf**2).sum() for leaf in params.values())
    gradient = {name: gradient[name] + 2 * size_weight * params[name] for name in params}
    return fit_weight * value + size_weight * squares, gradient


@functools.cache
def descent(accumulate):
    """A step that subtracts the gradient itself, shared, as compiling takes its time."""
    return make_train_step(both, optax.sgd(1.0), accumulate=accumulate)


def gradient_of(train, batch):
    """What a step with learning rate 1 subtracts, and its report."""
    state, report = train.step(train.init(PARAMS), batch)
    return jax.tree.map(lambda before, after: before - after, PARAMS, state.params), report


def assert_gradients_close(gradient, truth):
    for name, leaf in truth.items():
        np.testing.assert_allclose(gradient[name], leaf, atol=3e-6 * np.abs(leaf).max())


def assert_trees_equal(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(as_numbers(a), as_numbers(b))


def as_numbers(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.array(leaf)


def watching(train, state):
    """What the tracker keeps."""
    return unpacked(train.tracker, state)[1]


def numpy_copy(tree):
    """The numbers in ``tree``, to compare after it has been used up."""
    return jax.tree.map(as_numbers, tree)


# --- one step is the step


@pytest.mark.usefixtures("as_others_promote")
def test_equals_a_loop_written_by_hand():
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 20), b1=0.8)
    traces = []

    def objective(params, batch):
        traces.append(1)
        return mean_error(params, batch)

    @jax.jit
    def by_hand(params, opt_state, batch):
        loss, gradient = jax.value_and_grad(plain)(params, batch)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.tree.norm(gradient)

    train = make_train_step(objective, optimizer)
    start = jax.tree.map(jnp.asarray, PARAMS)
    state, params, opt_state = train.init(start), start, optimizer.init(start)
    for i in range(6):
        state, report = train.step(state, make_batch(i))
        params, opt_state, loss, norm = by_hand(params, opt_state, make_batch(i))
        np.testing.assert_allclose(report.loss, loss, rtol=1e-6)
        assert report.terms == {}
        np.testing.assert_allclose(report.gradient_norm, norm, rtol=1e-6)
        assert bool(report.finite)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.params, params)
    assert int(state.step) == int(state.updates) == 6
    assert len(traces) == 1
    assert_trees_equal(start, PARAMS)  # the step uses up its state, but not what it was made of


def test_any_pytree_of_params():
    train = make_train_step(lambda x, batch: (x[0] * batch).sum() ** 2, optax.sgd(0.01))
    state, report = train.step(train.init([2.0]), jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(report.loss, 36)
    np.testing.assert_allclose(state.params[0], 2 - 0.01 * 36)


def test_half_precision_params_keep_their_dtype():
    train = make_train_step(
        lambda params, batch: PartialMean((jnp.float32(params) * batch).sum(), jnp.float32(1)),
        optax.sgd(0.5),
        accumulate=4,
    )
    state, report = train.step(train.init(jnp.bfloat16(1.0)), jnp.full(4, 1e-3).at[0].set(1))
    assert state.params.dtype == jnp.bfloat16
    # a sum in bfloat16 would have been 1 / 4
    np.testing.assert_allclose(report.gradient_norm, 1.003 / 4, rtol=1e-4)


@pytest.mark.parametrize("accumulate", [1, 4, 16])
def test_value_and_gradient_by_numpy(accumulate):
    for kind in ("mask", "weights"):
        batch = make_batch(1, kind=kind)
        value, truth = gradient_by_numpy(batch, 0.03, 0.7)
        gradient, report = gradient_of(descent(accumulate), batch)
        np.testing.assert_allclose(report.loss, value, rtol=1e-6)
        assert_gradients_close(gradient, truth)
        squares = sum((leaf**2).sum() for leaf in PARAMS.values())
        np.testing.assert_allclose(report.terms["size"], squares, rtol=1e-6)
        np.testing.assert_allclose(report.terms["fit"], (value - 0.03 * squares) / 0.7, rtol=1e-5)


def test_extras_are_passed_by_name():
    def objective(params, batch, *, step, key):
        return (params * 0.0).sum() + batch * 0.0, (step, jax.random.key_data(key))

    key = jax.random.key(7)
    train = make_train_step(objective, optax.sgd(0.1), has_aux=True, extras=("step", "key"))
    state = train.init(jnp.zeros(2), key=key)
    for t in range(3):
        state, report = train.step(state, jnp.float32(1))
        assert int(report.aux[0]) == t
        expected = jax.random.key_data(jax.random.fold_in(key, t))
        np.testing.assert_array_equal(report.aux[1], expected)

    def micro(params, batch, *, key):
        total = (params * 0.0).sum() + batch.sum() * 0.0
        return PartialMean(total, jnp.float32(1)), (batch, jax.random.key_data(key))

    train = make_train_step(micro, optax.sgd(0.1), has_aux=True, extras=("key",), accumulate=3)
    _, report = train.step(train.init(jnp.zeros(2), key=key), jnp.arange(6.0))
    np.testing.assert_array_equal(report.aux[0], [[0, 3], [1, 4], [2, 5]])
    folded = [jax.random.fold_in(jax.random.fold_in(key, 0), m) for m in range(3)]
    np.testing.assert_array_equal(report.aux[1], [jax.random.key_data(k) for k in folded])


def test_a_schedule_of_term_weights():
    ramp = optax.linear_schedule(0.0, 1.0, 4)
    objective = weighted({"fit": mean_error, "size": size}, {"size": ramp})
    train = make_train_step(objective, optax.set_to_zero(), extras=("step",))
    state = train.init(PARAMS)
    for t in range(3):
        state, report = train.step(state, make_batch(0))
        expected = report.terms["fit"] + t / 4 * report.terms["size"]
        np.testing.assert_allclose(report.loss, expected, rtol=1e-6)


# --- accumulation


def test_accumulation_is_exact_where_weights_and_coefficients_are_learned():
    """Then the mean of the micro-batches' own gradients is wrong in every term."""

    def objective(params, batch):
        weights = jnp.exp(batch["x"] @ params["w"]).sum(-1)
        fit = partial_mean(errors(params, batch), where=batch["mask"], weights=weights)
        doubt = params["b"].sum()
        return WeightedSum(
            {"fit": fit, "doubt": PartialMean(doubt, jnp.float32(1))},
            {"fit": jnp.exp(-doubt), "doubt": jnp.float32(0.5)},
        )

    batch = make_batch(2)
    start = jax.tree.map(jnp.asarray, PARAMS)
    truth = jax.jit(jax.grad(lambda params: objective(params, batch).value()))(start)
    train = make_train_step(objective, optax.sgd(1.0), accumulate=4)
    assert_gradients_close(gradient_of(train, batch)[0], truth)


def test_a_batch_masked_wholly_has_no_loss_and_no_gradient():
    batch = make_batch(0) | {"mask": jnp.zeros((16, 5), bool)}
    gradient, report = gradient_of(descent(4), batch)
    assert float(report.terms["fit"]) == 0
    # what is left is the gradient of 0.03 times the sum of squares
    assert_gradients_close(gradient, {name: 0.06 * leaf for name, leaf in PARAMS.items()})


def test_first_pass_has_no_model_in_it():
    """One product to predict and one for the gradient of ``w``, with two passes as with one."""
    for accumulate in (1, 4):
        step = jax.jit(descent(accumulate).step)
        compiled = step.lower(descent(accumulate).init(PARAMS), make_batch(0)).compile()
        assert str(compiled.as_text()).count(" dot(") == 2


@pytest.mark.skipif(jax.device_count() < 8, reason="needs the 8 simulated devices of conftest")
def test_a_sharded_batch_trains_the_same_params():
    train = make_train_step(mean_error, optax.sgd(0.05, momentum=0.9), accumulate=2)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    replicated = NamedSharding(mesh, PartitionSpec())
    one, eight = train.init(PARAMS), jax.device_put(train.init(PARAMS), replicated)
    for i in range(5):
        one, _ = train.step(one, make_batch(i))
        eight, _ = train.step(eight, jax.device_put(make_batch(i), rows))
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(eight.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


# --- optimizers that want more than the gradient


def plateau_adam():
    reduce = optax.contrib.reduce_on_plateau(patience=5)
    return optax.chain(optax.adam(0.05), reduce)


def sam():
    ascend = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    return optax.contrib.sam(optax.sgd(0.2), ascend, opaque_mode=True)


def transparent_sam():
    ascend = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    return optax.contrib.sam(optax.sgd(0.2), ascend)


OPTIMIZERS = {
    "adam": lambda: optax.adam(0.1),
    "lbfgs": lambda: optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(15)),
    "lbfgs_zoom": optax.lbfgs,
    "line_search": lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)),
    "polyak_sgd": lambda: optax.polyak_sgd(max_learning_rate=0.5),
    "momo": lambda: optax.contrib.momo(0.1),
    "prodigy": lambda: optax.contrib.prodigy(estim_lr0=0.01),
    "reduce_on_plateau": plateau_adam,
    "schedule_free": lambda: optax.contrib.schedule_free_adamw(0.05),
    "sam": sam,
    "transparent_sam": transparent_sam,
    "muon": lambda: optax.contrib.muon(0.05),
    "multi_steps": lambda: optax.MultiSteps(optax.adam(0.1), 2),
}
CALLING = {"line_search", "polyak_sgd", "sam"}
"""Optimizers that are cheap to compile, and want the value or the function."""


def distance(params, batch):
    """A bowl, longer than wide, around the mean of the batch."""
    errors = (params["w"][None] - batch) * jnp.array([1.0, 1.5])[None, None]
    return PartialMean((errors**2).sum(), jnp.float32(len(batch)))


def losses_of(optimizer, **options):
    batch = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3, 2)), jnp.float32)
    train = make_train_step(distance, optimizer, **options)
    state, losses = train.init({"w": jnp.ones((3, 2))}), []
    for _ in range(12):
        state, report = train.step(state, batch)
        losses.append(float(report.loss))
    assert int(state.updates) == 12
    return losses


@pytest.mark.usefixtures("as_others_promote")
@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - CALLING - {"lbfgs_zoom"}))
def test_every_kind_of_optimizer_trains(name):
    losses = losses_of(OPTIMIZERS[name]())
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.usefixtures("as_others_promote")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in CALLING else pytest.mark.slow) for name in OPTIMIZERS],
)
def test_optimizers_see_all_micro_batches(name):
    whole = losses_of(OPTIMIZERS[name]())
    parts = losses_of(OPTIMIZERS[name](), accumulate=4)
    assert whole[-1] < 0.95 * whole[0]
    np.testing.assert_allclose(whole, parts, rtol=1e-4)


@pytest.mark.usefixtures("as_others_promote")
def test_polyak_equals_its_formula():
    batch = make_batch(0)
    value, gradient = gradient_by_numpy(batch, 0.03, 0.7)
    train = make_train_step(both, optax.polyak_sgd(max_learning_rate=10.0))
    state, _ = train.step(train.init(PARAMS), batch)
    rate = value / sum((leaf**2).sum() for leaf in gradient.values())
    for name, leaf in gradient.items():
        np.testing.assert_allclose(state.params[name], PARAMS[name] - rate * leaf, rtol=1e-5)


def test_an_optimizer_that_cannot_be_called_says_why():
    def refuse(updates, state, params=None, **extra):
        raise TypeError("update() needs the curvature")

    optimizer = optax.GradientTransformationExtraArgs(lambda params: (), refuse)
    train = make_train_step(plain, optimizer)
    with pytest.raises(TypeError, match="needs the curvature"):
        train.step(train.init(PARAMS), make_batch(0))


# --- the guard and the latch


BROKEN = {
    "loss": lambda batch: batch | {"y": batch["y"].at[0, :, 0].set(jnp.nan)},
    "infinite": lambda batch: batch | {"y": batch["y"].at[0, :, 0].set(jnp.inf)},
    "micro_batch": lambda batch: batch | {"x": batch["x"].at[1, :, 0].set(jnp.nan)},
}
UNMASKED = {"mask": jnp.ones((16, 5), bool)}


@pytest.fixture(scope="module")
def guarded():
    """A step with all that can be guarded, shared, as compiling it is slow."""
    tracker = convergence.averaged(2, convergence.plateau())
    optimizer = optax.sgd(0.05, momentum=0.9)
    return make_train_step(
        both, optimizer, tracker=tracker, accumulate=2, max_bad=3, keep_best=True
    )


@pytest.mark.parametrize("where", BROKEN)
def test_a_step_that_is_not_finite_changes_nothing(guarded, where):
    state = guarded.init(PARAMS)
    for i in range(3):
        state, _ = guarded.step(state, make_batch(i) | UNMASKED)
    before = numpy_copy(state)
    state, report = guarded.step(state, BROKEN[where](make_batch(3) | UNMASKED))
    assert not bool(report.finite)
    assert_trees_equal((state.params, state.opt_state), (before.params, before.opt_state))
    assert_trees_equal(watching(guarded, state), watching(guarded, before))
    assert_trees_equal(state.best, before.best)
    assert (int(state.step), int(state.updates)) == (4, 3)
    assert int(state.progress.bad) == 1
    state, report = guarded.step(state, make_batch(4))
    assert bool(report.finite)
    assert int(state.progress.bad) == 0
    assert (int(state.step), int(state.updates)) == (5, 4)


def test_gradient_and_update_are_guarded_beside_the_loss():
    train = make_train_step(lambda x, batch: jnp.sqrt(x * batch), optax.sgd(0.1))
    state, report = train.step(train.init(jnp.float32(0)), jnp.float32(1))
    assert np.isfinite(report.loss)
    assert not bool(report.finite)
    assert float(state.params) == 0

    train = make_train_step(lambda x, batch: x * batch, optax.scale(jnp.inf), guard_update=True)
    state, report = train.step(train.init(jnp.float32(2)), jnp.float32(1))
    assert np.isfinite(report.gradient_norm)
    assert not bool(report.finite)
    assert float(state.params) == 2


def test_a_gradient_too_large_to_square_is_left_out():
    """Its square, which is infinite, would stay in the state of Adam for good."""
    train = make_train_step(lambda x, batch: (x * batch).sum(), optax.sgd(0.1))
    state, report = train.step(train.init(jnp.zeros(2)), jnp.array([1e25, 1.0]))
    assert not bool(report.finite)
    np.testing.assert_array_equal(state.params, 0)


def test_too_many_bad_steps_in_a_row_stop_the_run(guarded):
    state = guarded.init(PARAMS)
    bad = BROKEN["loss"](make_batch(0) | UNMASKED)
    found = []
    for batch in (bad, bad, make_batch(1), bad, bad, bad, make_batch(2)):
        state, report = guarded.step(state, batch)
        found.append(int(report.code))
    assert found == [0, 0, 0, 0, 0, Reason.NONFINITE, Reason.NONFINITE]
    assert (int(state.step), int(state.updates)) == (6, 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert "3 times in a row" in convergence.explain(state.progress.verdict)


def test_after_the_stop_the_state_stays_bit_for_bit(guarded):
    state = guarded.init(PARAMS)
    batch, bad = make_batch(0), BROKEN["loss"](make_batch(0) | UNMASKED)
    code = Reason.RUNNING
    while code == Reason.RUNNING:
        state, report = guarded.step(state, batch)
        assert np.isfinite(report.loss)
        code = int(report.code)
    assert code == Reason.PLATEAU
    stopped = numpy_copy(state)
    assert int(state.step) == int(state.updates) > 60
    for j in range(75):
        state, report = guarded.step(state, bad if j % 3 else make_batch(j))
        assert np.isnan(report.loss)
        assert int(report.code) == Reason.PLATEAU
    assert_trees_equal(state, stopped)


def test_a_scan_over_the_step_is_as_many_steps():
    tracker = convergence.target(0.05)
    optimizer = optax.sgd(0.1, momentum=0.5)
    train = make_train_step(lambda x, batch: (x - batch) ** 2, optimizer, tracker=tracker)
    batches = jnp.linspace(0, 0.1, 20)
    single = train.init(jnp.float32(1))
    for batch in batches:
        single, _ = train.step(single, batch)
    scanned, reports = jax.lax.scan(train.step, train.init(jnp.float32(1)), batches)
    for a, b in zip(jax.tree.leaves(scanned), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert 3 < int(scanned.step) < 20
    assert np.isfinite(reports.loss).sum() == int(scanned.step)


def test_seeds_are_trained_side_by_side_by_vmap():
    tracker = convergence.target(0.5)
    train = make_train_step(lambda x, batch: (x - batch) ** 2, optax.sgd(0.25), tracker=tracker)
    states = jax.vmap(train.init)(jnp.array([1.0, 2.0, 8.0]))
    for _ in range(5):
        states, _ = jax.vmap(train.step, in_axes=(0, None))(states, jnp.float32(0))
    # x halves; the loss is x^2 before the update, 1/4 at the second step from 1, ...
    np.testing.assert_array_equal(states.step, [2, 3, 5])
    np.testing.assert_allclose(states.params, [0.25, 0.25, 0.25])
    np.testing.assert_array_equal(states.progress.verdict.code, [Reason.TARGET] * 3)


def test_best_params_are_those_the_best_value_was_measured_at():
    objective = jax.jit(lambda x, batch: ((x - batch) ** 2).sum())
    train = make_train_step(objective, optax.sgd(0.3), keep_best=True)
    batch = jnp.array([0.3, -0.7])
    state = train.init(jnp.array([1.0, 1.0]))
    losses, scales = [], [1.0, 1.0, jnp.nan, 1.0, -3.0, -3.0]
    for scale in scales:
        state, report = train.step(state, batch * scale)
        losses.append(float(report.loss))
    best = state.progress.best
    assert best is not None
    assert float(best.value) == np.nanmin(losses)
    i = int(np.nanargmin(losses))
    assert i == 3
    assert float(objective(best.params, batch * scales[i])) == best.value


# --- errors


def test_errors_name_function_and_argument():
    step = "make_train_step: "
    with pytest.raises(ValueError, match=step + "extras must be 'step' or 'key', got 'rng'"):
        make_train_step(plain, optax.sgd(0.1), extras=("rng",))
    with pytest.raises(ValueError, match=step + "accumulate must be at least 1, got 0"):
        make_train_step(plain, optax.sgd(0.1), accumulate=0)
    with pytest.raises(ValueError, match=step + "init must be given a key"):
        make_train_step(plain, optax.sgd(0.1), extras=("key",)).init(PARAMS)

    def raises(objective, batch, match, **options):
        train = make_train_step(objective, optax.sgd(0.1), **options)
        with pytest.raises(ValueError, match=match):
            train.step(train.init(PARAMS), batch)

    batch = make_batch(0)
    raises(
        plain,
        batch,
        r"objective must be a PartialMean\(total, weight\).*PartialMean\(loss, 1.0\)",
        accumulate=4,
    )
    mixed = weighted({"fit": mean_error, "other": plain})
    raises(mixed, batch, "term 'other' .* must be a PartialMean", accumulate=4)
    raises(mean_error, batch, "divisible by accumulate=3, got 16 rows", accumulate=3)
    raises(mean_error, batch | {"s": jnp.float32(1)}, "accumulate=4, got a scalar", accumulate=4)
    raises(errors, batch, r"objective must return a scalar .* got shape \(16, 5\)")
    raises(
        lambda p, b: (plain(p, b), 1),
        batch,
        "only with has_aux=True or .* more than that, got a tuple",
    )
