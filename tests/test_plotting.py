"""Figures show what they are given."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import evaluation, training
from jaxloss.evaluation import Examples
from jaxloss.training import convergence

plotting = pytest.importorskip("jaxloss.plotting", exc_type=ImportError)


def words(figure):
    """All that is written in a figure."""
    figure.canvas.draw()
    axes = figure.axes
    texts = [a.get_title(side) for a in axes for side in ("left", "center")]
    texts += [text.get_text() for a in axes for text in a.texts]
    legends = [a.get_legend() for a in axes]
    texts += [t.get_text() for legend in legends if legend for t in legend.get_texts()]
    texts += [label.get_text() for a in axes for label in a.get_yticklabels()]
    return " | ".join([*texts, *(a.get_xlabel() for a in axes), *(a.get_ylabel() for a in axes)])


@pytest.fixture(scope="module")
def result():
    train = training.make_train_step(
        lambda x, batch: ((x - batch) ** 2).mean(),
        optax.sgd(0.02),
        tracker=convergence.budget(200),
    )
    batches = [jnp.float32(jnp.nan if i == 50 else 1 + 0.1 * i % 3) for i in range(200)]
    state = train.init(jnp.float32(30.0))
    return training.fit(
        train, state, batches, evaluate=lambda x: (x - 1) ** 2, evaluate_every=50, progress=False
    )


def test_loss(result):
    figure = plotting.plot_loss(result, spikes=[20, 30], title="a run")
    said = words(figure)
    assert figure.axes[0].get_yscale() == "log"
    for part in ("a run", "not finite (1)", "spike (2)", "budget, step 200", "best", "evaluation"):
        assert part in said
    (line,) = (x for x in figure.axes[0].lines if x.get_label() == "training loss")
    assert np.isfinite(np.asarray(line.get_ydata(), float)).all()


def results():
    x = jnp.linspace(0.0, 1.0, 60)

    def measure(guess, x):
        return Examples((guess - x) ** 2, groups=(3 * x).astype(jnp.int32))

    models = {"zero": 0.0, "half": 0.5, "two": 2.0}
    return {name: evaluation.evaluate(measure, guess, [x]) for name, guess in models.items()}


def test_comparison_and_groups():
    found = results()
    said = words(plotting.plot_comparison(evaluation.compare(found)))
    assert "better" in said
    assert "worse" in said
    assert "loss minus that of zero" in said
    said = words(plotting.plot_groups(found["zero"], title="by group"))
    assert "by group" in said
    assert "n = 20" in said


@pytest.mark.parametrize("dimensions", [1, 2])
def test_landscape(dimensions):
    params = {"w": jnp.array([[1.0, 2.0], [3.0, 4.0]])}
    directions = evaluation.random_directions(jax.random.key(0), params, dimensions)
    at = jnp.linspace(-1, 1, 5)
    found = evaluation.landscape(lambda p: (p["w"] ** 2).sum(), params, directions, at=at)
    figure = plotting.plot_landscape(found, title="around")
    assert "around" in words(figure)
    assert "loss" in words(figure)


def test_calibration():
    rng = np.random.default_rng(0)
    p = jnp.float32(rng.uniform(size=500))
    came_true = jnp.asarray(rng.uniform(size=500) < p)
    found = evaluation.calibration(p, came_true)
    assert found.error < 0.1
    assert "calibration error" in words(plotting.plot_calibration(found))
