"""The loop: where it stops and why, what it keeps, and that it copies nothing on the quiet."""

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
from jaxloss.training import convergence, fit, make_train_step
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


def test_no_implicit_transfers():
    train = UNTIL_SMALL
    state = train.init(jnp.float32(1))
    evaluate = jax.jit(jnp.abs)
    tracker = convergence.patience(100)
    with jax.transfer_guard("disallow"):
        result = fit(
            train,
            state,
            itertools.repeat(np.float32(0)),
            evaluate=evaluate,
            evaluate_every=2,
            tracker=tracker,
            poll_every=2,
            progress=False,
        )
        assert result.reason == Reason.TARGET


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
    with pytest.raises(ValueError, match="fit: evaluate_every must be at least 1, got 0"):
        run(evaluate_every=0)
    with pytest.raises(ValueError, match="fit: tracker needs evaluate"):
        run(tracker=convergence.patience(3))
