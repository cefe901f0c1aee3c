"""Comparisons: what they say, how often they are wrong, and what they refuse."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from benchmarks import comparison as simulation
from jaxloss.evaluation import Examples, compare, evaluate
from jaxloss.evaluation.estimates import estimate, holm

RANDOM = np.random.default_rng(2)
HARD = RANDOM.gamma(1.5, 1.5, 400)
NOISE = 0.3 * RANDOM.normal(size=(8, 400))
of = simulation.evaluation  # an evaluation of given losses


def t_test(sample: np.ndarray) -> float:
    """The p-value of a mean of zero."""
    return float(np.asarray(scipy.stats.ttest_1samp(sample, 0))[1])


def test_one_difference_is_a_paired_t_test():
    difference = NOISE[0] - NOISE[1] + 0.02
    result = compare({"base": of(HARD + NOISE[1]), "new": of(HARD + NOISE[0] + 0.02)})
    found = result.models["new"].difference
    assert found is not None
    assert found.method == "t"
    assert found.value == pytest.approx(difference.mean())
    assert found.p_value == pytest.approx(t_test(difference))
    interval = scipy.stats.t.interval(0.95, 399, difference.mean(), scipy.stats.sem(difference))
    np.testing.assert_allclose([found.low, found.high], interval)
    assert result.models["new"].loss.value == pytest.approx((HARD + NOISE[0] + 0.02).mean())
    assert (result.baseline, result.examples, result.clusters, result.runs) == ("base", 400, 400, 1)


def test_clusters_and_weights_make_a_ratio():
    clusters = RANDOM.integers(0, 40, 400)
    weights = RANDOM.uniform(0.5, 2.0, 400)
    base = of(HARD, weights, clusters)
    found = compare({"base": base, "new": of(HARD + NOISE[0], weights, clusters)})
    totals = np.bincount(clusters, weights * NOISE[0])
    rows = np.bincount(clusters, weights)
    ratio = totals.sum() / rows.sum()
    without = (totals.sum() - totals) / (rows.sum() - rows)
    error = math.sqrt(39 / 40 * ((without - ratio) ** 2).sum())
    difference = found.models["new"].difference
    assert difference is not None
    assert difference.value == pytest.approx(ratio)
    assert difference.standard_error == pytest.approx(error)
    degrees = rows.sum() ** 2 / (rows**2).sum() - 1
    assert difference.p_value == pytest.approx(2 * scipy.stats.t.sf(abs(ratio) / error, degrees))
    assert found.clusters == 40


def test_verdicts():
    result = compare(
        {
            "better": of(HARD + NOISE[0] - 0.1),
            "base": of(HARD),
            "worse": of(HARD + NOISE[1] + 0.1),
            "undecided": of(HARD + NOISE[2] - NOISE[2].mean() + 0.02),
            "equivalent": of(HARD + 0.01 * NOISE[3] + 0.01),
            "": of(HARD),
        },
        baseline="base",
        negligible=0.02,
    )
    assert next(iter(result.models)) == result.baseline == "base"
    for name, model in result.models.items():
        if name:
            assert model.verdict == ("" if name == "base" else name)
    assert result.models[""].verdict == "equivalent"  # nothing differs at all
    assert result.models[""].p_value == 1
    # the same difference matters if none is said to be negligible
    alone = compare({"base": of(HARD), "rival": of(HARD + 0.01 * NOISE[3] + 0.01)})
    assert alone.models["rival"].verdict == "worse"


def test_p_values_are_corrected_for_their_number():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    corrected = holm([0.02, math.nan])
    assert corrected[0] == 0.02
    assert math.isnan(corrected[1])
    shift = 2.3 * NOISE[0].std() / 400**0.5 - NOISE[0].mean()  # p = 0.02
    one = of(HARD + NOISE[0] + shift)
    assert compare({"base": of(HARD), "one": one}).models["one"].verdict == "worse"
    rivals = {str(k): of(HARD + NOISE[k] - NOISE[k].mean()) for k in range(1, 4)}
    among = compare({"base": of(HARD), "one": one, **rivals})
    assert among.models["one"].verdict == "undecided"
    assert among.models["one"].p_value == pytest.approx(4 * t_test(NOISE[0] + shift))


def test_the_interval_and_the_p_value_agree():
    for seed in range(60):
        random = np.random.default_rng(seed)
        skewed = random.exponential(size=40) ** 1.5 - 1.2
        found = estimate(skewed[None], np.ones(40), 0.95, seed=0)
        assert (found.p_value <= 0.05) == (not found.low <= 0 <= found.high)


def test_skewed_differences_go_by_the_bootstrap_and_repeat():
    skewed = np.random.default_rng(0).exponential(size=(1, 40)) ** 1.5
    first, again = (estimate(skewed, np.ones(40), 0.95, seed=3) for _ in range(2))
    assert first == again
    assert first.method == "bootstrap-t"
    assert estimate(skewed, np.ones(40), 0.95, seed=4).reach != first.reach
    student = scipy.stats.t.ppf(0.975, 39) * first.standard_error
    assert first.reach > student  # a long right tail, of which a sample shows too little


def test_methods_over_seeds():
    """A seed that shifts all examples alike widens the interval, which one run cannot know."""
    shifts = np.array([0.05, -0.02, 0.01, -0.04])
    base = [of(HARD + NOISE[k]) for k in range(4)]
    rival = [of(HARD + NOISE[k] + shifts[k] + 0.02) for k in range(4)]
    result = compare({"base": base, "rival": rival})
    assert result.question == "these methods, over seeds"
    assert result.runs == 4
    difference = result.models["rival"].difference
    assert difference is not None
    # nothing varies from example to example, so that the seeds alone are left
    assert difference.value == pytest.approx(shifts.mean() + 0.02)
    expected = t_test(shifts + 0.02)
    assert difference.p_value == pytest.approx(expected)
    one = compare({"base": base[0], "rival": rival[0]})
    assert one.question == "these checkpoints"
    assert one.models["rival"].verdict == "worse"
    assert result.models["rival"].verdict == "undecided"


def test_seeds_and_examples_add_up():
    """Variances of a two-way layout: of seeds, of examples, and of both together."""
    cells = 0.3 * RANDOM.normal(size=(5, 1)) + RANDOM.normal(size=(1, 60))
    cells = cells + RANDOM.normal(size=(5, 60))
    found = estimate(cells, np.ones(60), 0.95, seed=0)
    rows, columns = cells.mean(1), cells.mean(0)
    rest = cells - rows[:, None] - columns + cells.mean()
    of_rows = rows.var(ddof=1) / 5
    of_columns = columns.var(ddof=1) / 60
    of_both = (rest**2).sum() / (4 * 59) / 300
    assert of_rows > of_both
    expected = of_rows + of_columns - of_both
    assert found.standard_error == pytest.approx(math.sqrt(expected))
    degrees = expected**2 / (of_rows**2 / 4 + of_columns**2 / 59)
    t = found.value / found.standard_error
    assert found.p_value == pytest.approx(2 * scipy.stats.t.sf(abs(t), degrees))


def test_table_and_plain_data():
    result = compare(
        {"base": of(HARD), "new": of(HARD + NOISE[0] - 0.1), "same": of(HARD + NOISE[1])}
    )
    title, head, *lines = result.table().splitlines()
    assert title == "400 examples; lower is better; about these checkpoints"
    assert head.split("  ")[0] == "model"
    assert head.endswith("  p (Holm)  verdict")
    assert "  Δ vs base  " in head
    assert lines[0].split()[-3:] == ["-", "-", "-"]
    assert lines[1].split()[-2:] == ["<0.001", "better"]
    assert lines[2].endswith("undecided")
    assert "-0.0" in lines[1] or "-0.1" in lines[1]
    data = json.loads(json.dumps(result.to_dict()))
    assert data["models"]["new"]["verdict"] == "better"
    assert data["models"]["new"]["difference"]["value"] == pytest.approx(NOISE[0].mean() - 0.1)
    clustered = of(HARD, clusters=np.arange(400) // 10)
    title = compare({"a": [clustered] * 2, "b": [clustered] * 2}).table().splitlines()[0]
    assert title.startswith("400 examples in 40 clusters, 2 seeds each; lower is better; about ")


def test_pairs_by_id_whatever_the_order():
    x = jnp.arange(10.0)
    first = evaluate(squares, 0.0, [(x[:6], jnp.arange(6)), (x[6:], jnp.arange(6, 10))])
    order = jnp.asarray(RANDOM.permutation(10))
    again = evaluate(squares, 0.0, [(x[order], order), (x[:3], jnp.arange(3))])
    result = compare({"first": first, "again": again})
    assert again.duplicates == 3
    difference = result.models["again"].difference
    assert difference is not None
    assert difference.value == difference.reach == 0
    assert result.models["again"].verdict == "equivalent"


def squares(guess, batch):
    x, ids = batch
    return Examples((x - guess) ** 2, ids=ids)


def test_what_is_refused():
    x, ids = jnp.arange(10.0), jnp.arange(10)
    base = evaluate(squares, 0.0, [(x, ids)])
    with pytest.raises(
        ValueError,
        match=r"'new' must have the ids of 'base', got 2 fewer \(0, 9\) and 1 more \(12\)",
    ):
        compare({"base": base, "new": evaluate(squares, 1.0, [(x[1:], ids[1:].at[-1].set(12))])})
    stream = evaluate(squares, 0.0, [(x, ids)], keep_examples=False)
    with pytest.raises(ValueError, match="must keep their examples, got 'new' without"):
        compare({"base": base, "new": stream})
    with pytest.raises(ValueError, match=r"must weigh the examples as 'base' does, got 2 and 1"):
        compare({"base": of(HARD), "new": of(HARD, weights=np.full(400, 2.0))})
    with pytest.raises(ValueError, match="must have the clusters of 'base', got 0 and 1 for id 1"):
        compare({"base": of(HARD), "new": of(HARD, clusters=np.arange(400) // 2)})
    with pytest.raises(ValueError, match=r"of two models or more, got \['base'\]"):
        compare({"base": base})
    with pytest.raises(ValueError, match=r"baseline must be one of \['a', 'b'\], got 'c'"):
        compare({"a": base, "b": base}, baseline="c")
    with pytest.raises(ValueError, match=r"as many runs, got {'a': 1, 'b': 2}"):
        compare({"a": base, "b": [base, base]})
    with pytest.raises(ValueError, match="as many runs"):
        compare({"a": [], "b": []})


def test_degenerate_samples():
    constant = compare({"base": of(np.zeros(9)), "new": of(np.full(9, 0.5))}).models["new"]
    assert (constant.verdict, constant.p_value) == ("worse", 0)
    single = compare({"base": of(np.zeros(1)), "new": of(np.ones(1))})
    assert single.models["new"].verdict == "undecided"
    assert single.table().splitlines()[-1].split() == ["new", "1", "-", "+1", "-", "-", "undecided"]
    broken = compare({"base": of(HARD), "new": of(np.where(HARD > 1, np.nan, HARD))})
    assert broken.models["new"].verdict == "undecided"


@pytest.mark.parametrize(
    "world", ["200 normal", "4000 tokens of 100 documents", "200 documents, by token"]
)
def test_how_often_a_difference_is_found_that_is_not(world):
    """600 samples of each world: 5 % nominally, with a standard error of 0.9 %."""
    found = simulation.rates(simulation.WORLDS[world], 600)
    assert 0.03 <= found.ours <= 0.08
    assert found.covered >= (0.93 if world == "200 documents, by token" else 0.92)
    if "token" in world:
        assert found.shortcut > 0.3  # the test can fail: this is what ignoring clusters does


@pytest.mark.parametrize("world", ["200 skewed", "9 rivals, 500", "5 seeds, 2000"])
def test_likewise_of_skewed_differences_of_several_rivals_and_of_methods(world):
    found = simulation.rates(simulation.WORLDS[world], 150)
    assert found.ours <= 0.1
    assert world == "200 skewed" or found.shortcut > 0.2


def test_pairing_finds_what_is_there():
    paired, unpaired = simulation.power(0.02, 60)
    assert paired > 0.3
    assert unpaired < 0.05
