"""What a step changes and what it leaves alone: model state, averages, scales, best params."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import PartialMean, partial_mean
from jaxloss.training import convergence, make_train_step
from jaxloss.training.convergence import Reason
from jaxloss.training.packing import layout_of, pack, unpack
from jaxloss.training.state import unpacked
from tests import test_training_step
from tests.test_training_step import (
    assert_gradients_close,
    assert_trees_equal,
    both,
    errors,
    gradient_by_numpy,
    gradient_of,
    numpy_copy,
)

PARAMS = {"w": jnp.full((3, 2), 0.5), "b": jnp.array([0.1, -0.2])}
STATE = {"mean": jnp.zeros(3), "seen": jnp.int32(0)}


def normalized(params, model_state, batch):
    """Inputs minus a running mean, which moves on: what BatchNorm does in evaluation."""
    moved = 0.9 * model_state["mean"] + 0.1 * batch["x"].mean((0, 1))
    shifted = batch | {"x": batch["x"] - model_state["mean"][None, None]}
    loss = partial_mean(errors(params, shifted), where=batch["mask"], weights=batch["weights"])
    steep = jnp.sqrt(jnp.abs(params["b"][0] * batch["steep"])).sum()  # without a slope at zero
    loss = loss._replace(total=loss.total + 0 * steep)
    return loss, {"mean": moved, "seen": model_state["seen"] + 1}


def make_batch(seed, rows=16, mask=None):
    batch = test_training_step.make_batch(seed, rows) | {"steep": jnp.ones(rows)}
    return batch if mask is None else batch | {"mask": mask}


def everything(**options):
    return make_train_step(
        normalized,
        optax.sgd(0.05, momentum=0.9),
        has_model_state=True,
        tracker=convergence.any_of(
            slow=convergence.patience(50), flat=convergence.averaged(2, convergence.plateau())
        ),
        ema_decay=0.9,
        keep_best=True,
        **options,
    )


def start(train):
    return train.init(PARAMS, model_state=STATE)


@pytest.fixture(scope="module")
def complete():
    """A step with all that can be guarded, in two micro-batches, shared for the time it takes."""
    return everything(accumulate=2, max_bad=3)


# --- model state


def test_model_state_goes_from_step_to_step():
    train = make_train_step(normalized, optax.sgd(0.0), has_model_state=True)
    state, mean = start(train), np.zeros(3)
    for i in range(3):
        batch = make_batch(i)
        state, _ = train.step(state, batch)
        mean = 0.9 * mean + 0.1 * np.asarray(batch["x"], np.float64).mean((0, 1))
        np.testing.assert_allclose(state.model_state["mean"], mean, rtol=1e-5)
    assert int(state.model_state["seen"]) == 3


def test_model_state_goes_from_micro_batch_to_micro_batch(complete):
    batch = make_batch(0)
    state, _ = complete.step(start(complete), batch)
    mean = np.zeros(3)
    for part in range(2):
        mean = 0.9 * mean + 0.1 * np.asarray(batch["x"], np.float64)[part::2].mean((0, 1))
    np.testing.assert_allclose(state.model_state["mean"], mean, rtol=1e-5)
    assert int(state.model_state["seen"]) == 2


def test_model_state_beside_auxiliary_output():
    def objective(params, model_state, batch, *, step):
        return params * batch, model_state + 1, (step, batch)

    train = make_train_step(
        objective, optax.sgd(0.1), has_model_state=True, has_aux=True, extras=("step",)
    )
    state = train.init(jnp.float32(1), model_state=jnp.int32(7))
    state, _ = train.step(state, jnp.float32(2))
    state, report = train.step(state, jnp.float32(3))
    assert int(state.model_state) == 9
    assert (int(report.aux[0]), float(report.aux[1])) == (1, 3)


# --- the guard


BROKEN = {
    "loss": lambda batch: batch | {"y": batch["y"].at[0, :, 0].set(jnp.nan)},
    "input": lambda batch: batch | {"x": batch["x"].at[:, :, 1].set(jnp.inf)},
    "micro_batch": lambda batch: batch | {"x": batch["x"].at[1, 0, 0].set(jnp.nan)},
    "gradient": lambda batch: batch | {"steep": batch["steep"].at[1].set(0.0)},
    # the row is masked: the loss does not see it, but the running mean does
    "state": lambda batch: (
        batch | {"x": batch["x"].at[3, :, :].set(jnp.inf), "mask": batch["mask"].at[3].set(False)}
    ),
}


@pytest.mark.parametrize("where", BROKEN)
def test_what_is_not_finite_changes_nothing(complete, where):
    state = start(complete)
    for i in range(3):
        state, _ = complete.step(state, unmasked(i))
    before = numpy_copy(state)
    state, report = complete.step(state, BROKEN[where](unmasked(3)))
    assert not bool(report.finite)
    for part in ("params", "opt_state", "model_state", "ema", "best"):
        assert_trees_equal(getattr(state, part), getattr(before, part))
    assert_trees_equal(unpacked(complete.tracker, state)[1], unpacked(complete.tracker, before)[1])
    assert (int(state.step), int(state.updates), int(state.progress.bad)) == (4, 3, 1)
    state, report = complete.step(state, unmasked(4))
    assert bool(report.finite)
    assert (int(state.step), int(state.updates), int(state.progress.bad)) == (5, 4, 0)


def unmasked(seed):
    return make_batch(seed, mask=jnp.ones((16, 5), bool))


def test_too_many_in_a_row_stop_with_finite_params(complete):
    state, codes = start(complete), []
    for bad in (0, 1, 1, 0, 1, 1, 1, 0):
        batch = unmasked(0)
        state, report = complete.step(state, BROKEN["input"](batch) if bad else batch)
        codes.append(int(report.code))
    assert codes == [0, 0, 0, 0, 0, 0, Reason.NONFINITE, Reason.NONFINITE]
    assert (int(state.step), int(state.updates)) == (7, 2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.ema)))


def test_an_update_that_is_not_finite_is_left_out_if_asked():
    train = make_train_step(
        lambda params, batch: (params * batch).sum(),
        optax.chain(optax.contrib.normalize(), optax.sgd(0.1, momentum=0.9)),
        guard_update=True,
        ema_decay=0.5,
    )
    state, _ = train.step(train.init(jnp.ones(2)), jnp.ones(2))
    before = numpy_copy(state)
    state, report = train.step(state, jnp.zeros(2))  # a gradient without a direction: 0 / 0
    assert np.isfinite(report.gradient_norm)
    assert not bool(report.finite)
    for part in ("params", "opt_state", "ema"):
        assert_trees_equal(getattr(state, part), getattr(before, part))
    state, report = train.step(state, jnp.ones(2))
    assert bool(report.finite)


# --- averages, best params, what to evaluate


def test_moving_average_of_params():
    train = make_train_step(lambda x, batch: x * batch, optax.sgd(1.0), ema_decay=0.4)
    state, ema, params = train.init(jnp.bfloat16(1.0)), 1.0, 1.0
    assert state.ema.dtype == jnp.float32
    for n, batch in enumerate([1.0, 2.0, -1.0, 4.0], start=1):
        state, _ = train.step(state, jnp.bfloat16(batch))
        params -= batch
        decay = min(0.4, (1 + n) / (10 + n))
        ema = decay * ema + (1 - decay) * params
        np.testing.assert_allclose(state.ema, ema, rtol=1e-6)
    evaluated = train.eval_params(state)
    assert evaluated.dtype == jnp.bfloat16
    np.testing.assert_allclose(jnp.float32(evaluated), ema, rtol=4e-3)


def test_best_is_what_the_best_loss_was_measured_with(complete):
    state, found = start(complete), []
    for i in range(6):
        state, report = complete.step(state, unmasked(i % 2))
        found.append(float(report.loss))
    best = state.best
    assert float(best.value) == min(found)
    i = int(np.argmin(found))
    again = complete.init(best.params, model_state=best.model_state)
    _, report = complete.step(again, unmasked(i % 2))
    assert float(report.loss) == float(best.value)


def quadratic(params, batch):
    return ((params["x"] - batch) ** 2).sum()


@pytest.mark.usefixtures("as_others_promote")
def test_params_to_evaluate_as_the_optimizer_means_them():
    """Schedule-free evaluates an average, and lookahead trains the fast of two kinds of params."""
    params, batch = {"x": jnp.array([2.0, -1.0])}, jnp.array([0.5, 0.5])
    free = optax.contrib.schedule_free_sgd(0.1, warmup_steps=2)
    train = make_train_step(quadratic, free, eval_params=optax.contrib.schedule_free_eval_params)
    state = train.init(params)
    for _ in range(30):
        state, _ = train.step(state, batch)
    assert float(quadratic(train.eval_params(state), batch)) < 0.05
    assert not np.allclose(train.eval_params(state)["x"], state.params["x"])

    both = optax.LookaheadParams.init_synced(params)
    ahead = optax.lookahead(optax.sgd(0.1), 5, 0.5)
    for accumulate in (1, 2):
        train = make_train_step(
            lambda params, batch: PartialMean(quadratic(params, batch.mean(0)), jnp.float32(1)),
            ahead,
            differentiate=lambda params: params.fast,
            eval_params=lambda _, params: params.slow,
            accumulate=accumulate,
        )
        state = train.init(both)
        for step in range(10):
            state, _ = train.step(state, jnp.stack([batch, batch]))
            if step == 3:  # not synchronized yet
                np.testing.assert_array_equal(state.params.slow["x"], params["x"])
        assert float(quadratic(train.eval_params(state), batch)) < 1


# --- half precision


def half(params, batch):
    """Everything in float16 but the mean of the squares."""
    inputs, targets = (x.astype(jnp.float16) for x in batch)
    outputs = jnp.tanh(inputs @ params.astype(jnp.float16))
    return partial_mean((jnp.float32(outputs - targets) ** 2).mean(-1) * 1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_scale_settles_and_saves_what_would_be_rounded_to_zero(accumulate):
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(16, 4)), jnp.float32)
    targets = jnp.tanh(inputs @ jnp.asarray(rng.normal(size=(4, 3)), jnp.float32))

    def run(loss_scale, steps):
        train = make_train_step(
            half,
            optax.sgd(1e4),
            loss_scale=loss_scale,
            scale_window=20,
            accumulate=accumulate,
        )
        state, losses = train.init(jnp.zeros((4, 3))), []
        for _ in range(steps):
            state, report = train.step(state, (inputs, targets))
            losses.append(float(report.loss))
        return state, losses

    state, losses = run(2.0**60, 90)
    # far more overflows in a row than the ten bad steps that would stop, and none of them is bad
    left_out = int(state.step) - int(state.updates)
    assert 10 < left_out < 50
    assert int(state.progress.verdict.code) == Reason.RUNNING
    assert 2.0**10 < float(state.loss_scale) < 2.0**40
    assert np.log2(float(state.loss_scale)) % 1 == 0
    plain = np.mean(np.asarray(targets, np.float64) ** 2) * 1e-5
    np.testing.assert_allclose(losses[0], plain, rtol=1e-2)  # not scaled
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] < run(None, 90 - left_out)[1][-1]


def test_scale_doubles_after_good_steps_and_is_never_below_one():
    def objective(x, batch):
        return x * batch

    train = make_train_step(objective, optax.sgd(0.0), loss_scale=2.0, scale_window=3, max_bad=3)
    state, scales, bad = train.init(jnp.float32(0)), [], []
    for batch in [1.0, 1.0, 1.0, 1.0] + [3e38] * 6:
        state, _ = train.step(state, jnp.float32(batch))
        scales.append(float(state.loss_scale))
        bad.append(int(state.progress.bad))
    assert scales == [2, 2, 4, 4, 2, 1, 1, 1, 1, 1]
    assert bad == [0, 0, 0, 0, 0, 0, 1, 2, 3, 3]  # at a scale of one it is the gradient's own fault
    assert int(state.progress.verdict.code) == Reason.NONFINITE


# --- several steps in one program


def test_several_steps_in_one_program_are_the_same_bit_for_bit(complete):
    """Also over a step that is left out, and past the stop."""
    batches = [unmasked(i) for i in range(12)]
    batches[4] = BROKEN["loss"](batches[4])
    batches[8:11] = [BROKEN["input"](batch) for batch in batches[8:11]]
    single, losses = start(complete), []
    for batch in batches:
        single, report = complete.step(single, batch)
        losses.append(float(report.loss))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batches)
    together, reports = complete.multi_step(start(complete), stacked)
    assert_trees_equal(together, single)
    np.testing.assert_array_equal(reports.loss, losses)
    assert int(single.step) == 11
    assert int(reports.code[-1]) == Reason.NONFINITE


# --- accumulation in ever more parts


def test_every_number_of_micro_batches_has_the_gradient_of_the_whole():
    """With weights, a mask, micro-batches masked wholly, and a term that is a mean of its own."""
    batch = test_training_step.make_batch(5, rows=64)
    value, truth = gradient_by_numpy(batch, 0.03, 0.7)
    for accumulate in (1, 2, 4, 8, 16, 64):
        train = make_train_step(both, optax.sgd(1.0), accumulate=accumulate)
        gradient, report = gradient_of(train, batch)
        np.testing.assert_allclose(report.loss, value, rtol=1e-6)
        assert_gradients_close(gradient, truth)


def test_one_gradient_is_held_however_many_micro_batches():
    def objective(params, batch):
        return partial_mean(((batch @ params) ** 2).sum(-1))

    params = jnp.ones((64, 256))
    temporary = {}
    for accumulate in (2, 16):
        train = make_train_step(objective, optax.sgd(0.1), accumulate=accumulate)
        step = jax.jit(train.step).lower(train.init(params), jnp.ones((32, 64))).compile()
        memory = step.memory_analysis()
        assert memory is not None
        temporary[accumulate] = memory.temp_size_in_bytes
    assert temporary[16] <= temporary[2]
    assert temporary[2] < 3 * params.nbytes


# --- packing


def test_what_is_packed_comes_back():
    tree = {
        "flag": jnp.bool_(True),
        "count": jnp.int32(-7),
        "means": jnp.arange(6.0).reshape(2, 3),
        "key": jax.random.key(0),
        "none": None,
        "level": jnp.float32(jnp.nan),
        "flags": jnp.array([True, False]),
        "last": (jnp.float32(2.5), jnp.int32(3)),
    }
    packed = jax.jit(pack)(tree)
    np.testing.assert_array_equal(packed.integers, [-7, 1, 1, 0, 3])
    np.testing.assert_array_equal(packed.floats, [2.5, np.nan, 0, 1, 2, 3, 4, 5])
    back = jax.jit(lambda packed: unpack(layout_of(tree), packed))(packed)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert [x.dtype for x in jax.tree.leaves(back)] == [x.dtype for x in jax.tree.leaves(tree)]
    assert_trees_equal(back, tree)


def test_errors_name_function_and_argument():
    train = everything()
    with pytest.raises(ValueError, match="init must be given a model_state"):
        train.init(PARAMS)

    def raises(objective, match, **options):
        train = make_train_step(objective, optax.sgd(0.1), has_model_state=True, **options)
        with pytest.raises(ValueError, match=match):
            train.step(start(train), make_batch(0))

    loss = jnp.float32(0)
    raises(lambda p, s, b: loss, r"must return \(loss, model_state\), .* got a Array")
    raises(lambda p, s, b: (loss, s), "must return .loss, model_state, aux.* got 2", has_aux=True)
    raises(lambda p, s, b: (loss, {"mean": s["mean"]}), "model state of the same structure")
    grown = {"mean": jnp.zeros(4), "seen": jnp.int32(0)}
    raises(lambda p, s, b: (loss, grown), r"same shapes .*\(3,\) at model_state\['mean'\].*\(4,\)")
