"""The loop: where it stops and why, what it keeps, and that it copies nothing on the quiet."""

import importlib.util
import itertools
import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import PartialMean
from jaxloss.compose import weighted
from jaxloss.training import Checkpoints, convergence, fit, make_train_step
from jaxloss.training.convergence import Reason


def halving(tracker=None, **options):
    """Descent on x^2 that halves x, and so quarters the loss, in each step."""
    return make_train_step(
        lambda x, batch: (x - batch) ** 2, optax.sgd(0.25), tracker=tracker, **options
    )


PLAIN = halving()
UNTIL_SMALL = halving(convergence.target(1e-3))  # met by the loss of the sixth step


def zeros():
    """Batches without end, as numpy arrays, and how many were drawn."""
    drawn = []

    def batches():
        while True:
            drawn.append(1)
            yield np.float32(0)

    return batches(), drawn


def run(train=PLAIN, batches=None, progress=False, **options):
    batches = itertools.repeat(np.float32(0)) if batches is None else batches
    return fit(train, train.init(jnp.float32(1)), batches, progress=progress, **options)


def test_takes_the_steps_asked_for_and_keeps_their_losses():
    batches, drawn = zeros()
    result = run(batches=batches, steps=25, poll_every=7)
    assert (result.reason, len(drawn)) == (Reason.STEPS, 25)
    assert result.explanation == "steps: all 25 steps asked for were taken"
    np.testing.assert_array_equal(result.history.step, np.arange(25))
    np.testing.assert_allclose(result.history.loss, 0.25 ** np.arange(25), rtol=1e-6)
    np.testing.assert_allclose(result.state.params, 0.5**25)
    assert result.history.terms == {}
    assert result.best_params is None


def test_batches_that_end():
    result = run(batches=[np.float32(0)] * 4, steps=25)
    assert result.reason == Reason.EXHAUSTED
    assert "after 4 steps" in result.explanation
    assert len(result.history.loss) == 4

    for result in (run(batches=[]), run(steps=0)):
        assert len(result.history.loss) == len(result.history.evaluation) == 0
        assert float(result.state.params) == 1
    assert run(batches=[]).explanation == "exhausted: the batches ended after 0 steps"


@pytest.mark.parametrize("poll_every", [1, 4, 50])
def test_the_tracker_stops_at_its_step_however_late_it_is_noticed(poll_every):
    batches, drawn = zeros()
    result = run(UNTIL_SMALL, batches, poll_every=poll_every)
    assert result.reason == Reason.TARGET
    assert result.explanation.startswith("target: the value 0.0009766")
    np.testing.assert_allclose(result.history.loss, 0.25 ** np.arange(6), rtol=1e-6)
    assert int(result.state.step) == 6
    np.testing.assert_allclose(result.state.params, 0.5**6)
    assert len(drawn) <= 6 + poll_every + 2


def test_a_run_goes_on_where_it_was():
    first = run(steps=3)
    second = fit(PLAIN, first.state, itertools.repeat(np.float32(0)), steps=4, progress=False)
    np.testing.assert_array_equal(second.history.step, [3, 4, 5, 6])
    np.testing.assert_allclose(second.history.loss, 0.25 ** np.arange(3, 7))
    np.testing.assert_allclose(second.state.params, 0.5**7)


def test_a_run_that_has_stopped_draws_no_batch():
    stopped = run(UNTIL_SMALL)
    batches, drawn = zeros()
    again = fit(UNTIL_SMALL, stopped.state, batches, progress=False)
    assert again.reason == Reason.TARGET
    assert (len(drawn), len(again.history.loss)) == (0, 0)


def test_terms_have_curves():
    objective = weighted(
        {"near": lambda x, batch: (x - batch) ** 2, "small": lambda x, batch: jnp.abs(x)},
        {"small": 0.0},
    )
    train = make_train_step(objective, optax.sgd(0.25))
    history = run(train, steps=5, poll_every=2).history
    np.testing.assert_allclose(history.terms["small"], 0.5 ** np.arange(5), rtol=1e-6)
    np.testing.assert_allclose(history.terms["near"], history.loss)


def test_evaluations_choose_the_best_params():
    """Best at x = 1/4, which is between the steps evaluated first and last."""
    result = run(steps=7, evaluate=lambda x: (x - 0.25) ** 2, evaluate_every=2)
    np.testing.assert_array_equal(result.history.evaluation_step, [2, 4, 6, 7])
    at = 0.5 ** np.array([2, 4, 6, 7])
    np.testing.assert_allclose(result.history.evaluation, (at - 0.25) ** 2, rtol=1e-6)
    assert float(result.best_params) == 0.25
    assert result.best_value == 0
    assert result.reason == Reason.STEPS


def test_evaluations_stop_the_run():
    result = run(
        evaluate=lambda x: PartialMean(3 * (x - 0.25) ** 2, jnp.float32(3)),
        evaluate_every=1,
        tracker=convergence.patience(3),
    )
    # 1/16 at x = 1/2, best at 1/4, and then three without a gain
    assert result.reason == Reason.PATIENCE
    assert int(result.state.step) == 5
    np.testing.assert_array_equal(result.history.evaluation_step, [1, 2, 3, 4, 5])
    assert float(result.best_params) == 0.25


def test_evaluations_may_come_from_the_host_and_not_be_finite():
    values = iter([float("nan"), 3.0, float("inf"), 4.0])
    result = run(steps=4, evaluate=lambda x: next(values), evaluate_every=1)
    np.testing.assert_array_equal(result.history.evaluation, [np.nan, 3, np.inf, 4])
    assert result.best_value == 3
    assert float(result.best_params) == 0.25


def test_evaluations_after_the_stop_are_no_part_of_the_run():
    result = run(UNTIL_SMALL, evaluate=jnp.abs, evaluate_every=2, poll_every=20)
    np.testing.assert_array_equal(result.history.evaluation_step, [2, 4, 6])
    np.testing.assert_allclose(result.history.evaluation, 0.5 ** np.array([2, 4, 6]))


def test_best_params_that_the_step_kept():
    train = halving(keep_best=True)
    result = run(train, [np.float32(0)] * 4 + [np.float32(9)] * 2)
    assert result.best_value == 0.25**3
    assert float(result.best_params) == 0.5**3
    train.step(result.state, jnp.float32(0))
    assert float(result.best_params) == 0.5**3


def test_callbacks_see_every_step():
    seen = []
    result = run(steps=3, callbacks=[lambda *args: seen.append(args)])
    assert [step for step, _, _ in seen] == [1, 2, 3]
    losses = [float(report.loss) for _, _, report in seen]
    np.testing.assert_array_equal(losses, result.history.loss)


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_no_implicit_transfers(steps_per_call, tmp_path):
    train = halving(convergence.target(1e-3), ema_decay=0.5)
    state = train.init(jnp.float32(1))
    evaluate = jax.jit(jnp.abs)
    tracker = convergence.patience(100)
    checkpoints = None
    if importlib.util.find_spec("orbax"):
        checkpoints = Checkpoints(tmp_path, every=2)
    with jax.transfer_guard("disallow"):
        result = fit(
            train,
            state,
            [np.float32(0)] * 50,
            evaluate=evaluate,
            evaluate_every=2,
            tracker=tracker,
            poll_every=2,
            steps_per_call=steps_per_call,
            checkpoints=checkpoints,
            progress=False,
        )
        assert result.reason == Reason.TARGET


def test_batches_may_be_a_function_of_the_step():
    asked = []

    def batches(step):
        asked.append(step)
        return np.float32(step)

    first = run(batches=batches, steps=3)
    second = fit(PLAIN, first.state, batches, steps=2, progress=False)
    assert asked == [0, 1, 2, 3, 4]
    x, losses = 1.0, []
    for step in range(5):
        losses.append((x - step) ** 2)
        x -= 0.5 * (x - step)
    both = np.concatenate([first.history.loss, second.history.loss])
    np.testing.assert_allclose(both, losses, rtol=1e-6)


def test_several_steps_in_one_call_are_the_same_run():
    """Also what is left over, and where the tracker and the evaluations fall in between."""
    batches = [np.float32(x) for x in np.linspace(0, 0.1, 50)]
    options = {"evaluate": jnp.abs, "evaluate_every": 4, "poll_every": 4}
    for train, steps in ((PLAIN, 14), (PLAIN, None), (halving(convergence.target(2e-3)), None)):
        single = run(train, batches, steps=steps, **options)
        together = run(train, batches, steps=steps, steps_per_call=4, **options)
        assert together.reason == single.reason
        np.testing.assert_array_equal(together.history.step, single.history.step)
        np.testing.assert_allclose(together.history.loss, single.history.loss, rtol=1e-6)
        np.testing.assert_array_equal(
            together.history.evaluation_step, single.history.evaluation_step
        )
        np.testing.assert_allclose(together.state.params, single.state.params, rtol=1e-6)
        np.testing.assert_allclose(together.best_value, single.best_value, rtol=1e-6)


def test_callbacks_come_after_each_call():
    seen = []
    run(steps=7, steps_per_call=3, callbacks=[lambda step, _, report: seen.append((step, report))])
    assert [step for step, _ in seen] == [3, 6, 7]
    assert [np.size(report.loss) for _, report in seen] == [3, 3, 1]


def test_evaluations_are_of_the_params_to_evaluate_and_of_the_model_state():
    def carried(x, mean, batch):
        return (x - batch) ** 2, mean + 1

    train = make_train_step(carried, optax.sgd(0.25), has_model_state=True, ema_decay=0.5)
    seen = []

    def evaluate(params, mean):
        seen.append((float(params), int(mean)))
        return (params - 0.6) ** 2

    state = train.init(jnp.float32(1), model_state=jnp.int32(0))
    batches = itertools.repeat(np.float32(0))
    result = fit(
        train, state, batches, steps=4, evaluate=evaluate, evaluate_every=1, progress=False
    )
    ema = []
    for step in range(1, 5):
        decay = min(0.5, (1 + step) / (10 + step))
        ema.append(decay * (ema[-1] if ema else 1.0) + (1 - decay) * 0.5**step)
    np.testing.assert_allclose([value for value, _ in seen], ema, rtol=1e-6)
    assert [mean for _, mean in seen] == [1, 2, 3, 4]
    best = int(np.argmin(np.abs(np.array(ema) - 0.6)))
    np.testing.assert_allclose(result.best_params, ema[best], rtol=1e-6)
    assert int(result.best_model_state) == best + 1


def test_sigterm_ends_the_run_as_ctrl_c_does():
    def batches(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return np.float32(0)

    before = signal.getsignal(signal.SIGTERM)
    result = run(batches=batches)
    assert result.reason == Reason.INTERRUPTED
    assert result.explanation == "interrupted: by SIGTERM after 4 steps"
    assert signal.getsignal(signal.SIGTERM) is before


def test_interrupts_end_the_run_with_all_it_has(monkeypatch):
    def batches():
        for i in itertools.count():
            if i == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield np.float32(0)

    before = signal.getsignal(signal.SIGINT)
    result = run(batches=batches())
    assert result.reason == Reason.INTERRUPTED
    assert result.explanation == "interrupted: from the keyboard after 4 steps"
    np.testing.assert_allclose(result.history.loss, 0.25 ** np.arange(4))
    np.testing.assert_allclose(result.state.params, 0.5**4)
    assert signal.getsignal(signal.SIGINT) is before

    def impatient():
        yield np.float32(0)
        raise KeyboardInterrupt

    result = run(batches=impatient(), evaluate=jnp.abs)
    assert result.reason == Reason.INTERRUPTED
    assert len(result.history.loss) == 1


def test_errors_of_the_batches_are_raised():
    def batches():
        yield np.float32(0)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        run(batches=batches())


def test_a_bar_is_shown_if_it_can_be(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    run(steps=30, progress=True)
    shown = capsys.readouterr().err
    assert "30/30" in shown
    assert "loss=" in shown
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert run(steps=3, progress=True).reason == Reason.STEPS
    assert capsys.readouterr().err == ""


def test_errors_name_function_and_argument():
    with pytest.raises(ValueError, match="fit: steps must not be negative, got -1"):
        run(steps=-1)
    with pytest.raises(ValueError, match="fit: poll_every must be at least 1, got 0"):
        run(poll_every=0)
    with pytest.raises(ValueError, match="fit: steps_per_call must be at least 1, got 0"):
        run(steps_per_call=0)
    with pytest.raises(ValueError, match="fit: evaluate_every must be at least 1, got 0"):
        run(evaluate_every=0)
    with pytest.raises(ValueError, match="fit: tracker needs evaluate"):
        run(tracker=convergence.patience(3))
