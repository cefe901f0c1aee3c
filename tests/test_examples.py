"""Each example runs, and what its docstring claims is so."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"

for package in ("lifelines", "matplotlib", "sklearn", "statsmodels"):
    pytest.importorskip(package)


@pytest.fixture(autouse=True)
def as_optax_needs_it():
    with jax.numpy_dtype_promotion("standard"):  # optax.adam promotes its step count
        yield


def example(name: str, **smaller: object) -> ModuleType:
    """The example as a module, some of its constants made smaller."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(smaller) <= set(vars(module))
    vars(module).update(smaller)
    return module


def test_every_example_is_tested():
    tests = pathlib.Path(__file__).read_text()
    assert all(f'example("{path.stem}"' in tests for path in EXAMPLES.glob("*.py"))


def test_long_tailed_digits(tmp_path, capsys):
    digits = example("long_tailed_digits")
    methods = {name: digits.METHODS[name] for name in ("cross-entropy", "LDAM", "logit adjustment")}
    out = str(tmp_path / "figure.png")
    runs = digits.main(methods, seeds=range(2), out=out, most_steps=200)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")

    rare = {name: np.mean([run.accuracy[-3:] for run in runs[name]]) for name in runs}
    assert rare["logit adjustment"] > rare["cross-entropy"] + 0.05
    for of_method in runs.values():
        for run in of_method:
            assert run.accuracy[:3].mean() > 0.9
            assert (run.result.reason.name, len(run.result.history.loss)) == ("BUDGET", 200)

    balanced = np.array([run.accuracy.mean() for run in runs["LDAM"]])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("LDAM  ")]
    assert f"{balanced.mean():.3f} +- {balanced.std():.3f}" in line
    assert line.endswith(f"{rare['LDAM']:.3f}   200  budget 2/2")


def test_the_sets_of_long_tailed_digits():
    digits = example("long_tailed_digits")
    train, validation, test = digits.long_tailed_digits(3)
    counts = [100, 60, 36, 22, 13, 8, 5, 3, 2, 1]
    np.testing.assert_array_equal(np.bincount(train.labels), counts)
    np.testing.assert_array_equal(np.bincount(validation.labels), [20] * 10)
    np.testing.assert_array_equal(np.bincount(test.labels), [50] * 10)
    assert (np.diff(test.labels) >= 0).all()

    images = np.concatenate([train.pixels, validation.pixels, test.pixels])
    assert len(np.unique(images, axis=0)) == len(images)

    epoch = [next(batches) for batches in [digits.shuffled(train, 0)] for _ in range(5)]
    seen = np.concatenate([batch.pixels for batch in epoch])
    np.testing.assert_array_equal(np.unique(seen, axis=0), np.unique(train.pixels, axis=0))


def test_robust_regression():
    robust = example("robust_regression")
    losses = {name: robust.LOSSES[name] for name in ("squared", "huber")}
    errors = robust.main(losses, splits=2)
    squared, huber = errors["squared"], errors["huber"]
    assert squared["outliers"].mean_absolute > 1.5 * squared["clean"].mean_absolute
    assert huber["outliers"].mean_absolute < 1.15 * huber["clean"].mean_absolute
    assert abs(huber["clean"].root_mean_squared / squared["clean"].root_mean_squared - 1) < 0.05


def test_the_squared_error_of_robust_regression_is_least_squares():
    robust = example("robust_regression")
    train, test = robust.split(seed=4, outliers=0)
    found = robust.errors_of(robust.regress(robust.LOSSES["squared"]), seed=4, outliers=0)
    design = np.column_stack([train.measured, np.ones(len(train.measured))]).astype(float)
    solution, *_ = np.linalg.lstsq(design, train.progression, rcond=None)
    expected = test.measured @ solution[:-1] + solution[-1] - test.progression
    np.testing.assert_allclose(found, expected, atol=1.0)  # of errors of about 50


def test_box_regression():
    boxes = example("box_regression")
    rows = boxes.main({name: boxes.LOSSES[name] for name in ("iou", "giou")})
    assert (rows["iou"].pull, rows["iou"].iou) == (0, 0)
    assert rows["iou"].explanation.startswith("plateau: training on would gain 0 at most")
    assert rows["giou"].pull > 0.01
    assert rows["giou"].iou > 0.97
    assert rows["giou"].good > 0.9
    assert rows["giou"].explanation.startswith("target")


def test_segmentation():
    segmentation = example("segmentation")
    losses = {name: segmentation.LOSSES[name] for name in ("tversky", "phased")}
    table = segmentation.main(losses)
    assert min(row.dice for row in table.values()) > 0.7
    assert table["phased"].log_loss < table["tversky"].log_loss / 1.5
    assert table["tversky"].recall > table["tversky"].precision + 0.05

    history = table["phased"].result.history
    weight = np.minimum(history.step / (segmentation.STEPS // 2), 1)
    expected = history.terms["cross-entropy"] + weight * history.terms["dice"]
    np.testing.assert_allclose(history.loss, expected, rtol=1e-5)


def test_learned_delta():
    learned = example("learned_delta")
    found = learned.main()
    numbers = {noise: [float(x) for x in model] for noise, model in found.items()}
    for noise in ("huber", "gaussian", "laplace"):
        np.testing.assert_allclose(numbers[noise][:2], [2, -1], atol=0.02)
    deltas = {noise: np.exp(model[3]) for noise, model in numbers.items()}
    sigmas = {noise: np.exp(model[2]) for noise, model in numbers.items()}
    np.testing.assert_allclose([deltas["huber"], sigmas["huber"]], [0.8, 0.5], rtol=0.1)
    assert deltas["laplace"] < 0.6
    assert deltas["gaussian"] > 2
    np.testing.assert_allclose(sigmas["laplace"] / deltas["laplace"], 0.5, rtol=0.05)
    np.testing.assert_allclose(sigmas["gaussian"], 0.5, rtol=0.02)
    assert sigmas["plain"] / deltas["plain"] > 1e3 or deltas["plain"] < 1e-3


def test_the_density_of_learned_delta():
    learned = example("learned_delta")
    errors = np.linspace(-30, 30, 600_001)
    for delta in (0.3, 1.7):
        size = np.abs(errors)
        huber = np.where(size < delta, errors**2 / 2, delta * (size - delta / 2))
        expected = np.exp(-huber).sum() * (errors[1] - errors[0])
        np.testing.assert_allclose(sum(learned.center_and_tails(delta)), expected, rtol=1e-3)


@pytest.mark.filterwarnings("default")  # theirs
def test_recidivism():
    from lifelines import CoxPHFitter, WeibullAFTFitter
    from lifelines.datasets import load_rossi

    found = example("recidivism").main()
    cox = CoxPHFitter().fit(load_rossi(), "week", "arrest")
    np.testing.assert_allclose(found["cox"], cox.params_, atol=1e-3)
    weibull = WeibullAFTFitter().fit(load_rossi(), "week", "arrest")
    shape = np.exp(weibull.params_["rho_"]["Intercept"])
    expected = -shape * weibull.params_["lambda_"].drop("Intercept")
    np.testing.assert_allclose(found["weibull"], expected[list(cox.params_.index)], atol=2e-3)


def test_doctor_visits():
    table = example("doctor_visits").main()
    poisson, flexible, truth = (
        table[name] for name in ("Poisson", "negative binomial", "in truth")
    )
    assert flexible.log_loss < poisson.log_loss - 0.5
    assert poisson.none < truth.none / 2
    assert poisson.many < truth.many / 2
    assert abs(flexible.none - truth.none) < 0.03
    assert table["zero-inflated"].log_loss < flexible.log_loss


def test_marriage_ratings():
    ratings = example("marriage_ratings")
    table = ratings.main()
    few, many = ratings.SIZES
    assert table["proportional odds", few].log_loss < table["softmax", few].log_loss
    assert table["proportional odds", few].off < table["softmax", few].off
    assert table["proportional odds", many].log_loss < 1.3 < np.log(ratings.GRADES)
    assert table["proportional odds", many].off < table["squared error", many].off


@pytest.mark.filterwarnings("default")  # theirs
def test_food_expenditure():
    import statsmodels.formula.api as formulas
    from statsmodels.datasets import engel

    food = example("food_expenditure")
    found = food.main()
    model = formulas.quantreg("foodexp ~ income", engel.load_pandas()["data"])
    for level, (intercept, slope) in zip(food.LEVELS, found, strict=True):
        expected = model.fit(q=level).params
        np.testing.assert_allclose(slope, expected["income"], atol=0.01)
        np.testing.assert_allclose(intercept, expected["Intercept"], atol=10)


def test_custom_loss():
    custom = example("custom_loss")
    hours_off = custom.main()
    assert hours_off["circular"] < 1  # of noise that is 0.8 hours off on average
    assert hours_off["squared"] > 3


@pytest.mark.usefixtures("as_users_run_it")
def test_a_custom_loss_keeps_the_conventions():
    circular = example("custom_loss").circular
    predictions, targets = jnp.array([23.5, 7.0, 1.0]), jnp.array([0.5, 1.0, jnp.nan])
    where, weights = jnp.array([True, True, False]), jnp.array([1.0, 3.0, 5.0])
    expected = 1 - np.cos([np.pi / 12, np.pi / 2])

    def loss(predictions, **options):
        return circular(predictions, targets, period=24.0, where=where, **options)

    apart = loss(predictions, reduction="none")
    np.testing.assert_allclose(apart, [*expected, 0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(loss(predictions, weights=weights), expected @ [1, 3] / 4, rtol=1e-5)
    gradient = jax.grad(loss)(predictions)
    assert gradient[2] == 0
    assert jnp.isfinite(gradient).all()
    with pytest.raises(ValueError, match="circular: shapes must be equal"):
        circular(jnp.zeros(2), jnp.zeros((2, 1)), period=24.0)


def test_many_devices(capsys):
    many = example("many_devices")
    one = many.main(1)
    assert one.history.loss[0] > 1
    assert one.reason.name == "TARGET"
    assert "1 devices of 1 processes" in capsys.readouterr().out
    if jax.device_count() >= 8:
        eight = many.main(8)
        np.testing.assert_allclose(eight.history.loss, one.history.loss, rtol=1e-3)
        assert eight.explanation[:12] == one.explanation[:12]


@pytest.mark.slow
def test_many_devices_of_several_processes():
    lines = subprocess.run(
        [sys.executable, str(EXAMPLES / "many_devices.py"), "--processes", "2"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(EXAMPLES.parent)},
    ).stdout.splitlines()
    assert "2 devices of 2 processes" in lines
    assert lines[-1].startswith("target: ")


def test_language_model(tmp_path, capsys):
    language = example("language_model", VOCABULARY=1024, FEATURES=32, LENGTH=32, EVERY=40)
    devices = (1, 8) if jax.device_count() >= 8 else (1,)
    table, runs = language.main(devices, steps=80, out=str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert table["transformer"].perplexity < 0.7 * table["counts of tokens"].perplexity
    assert len(runs[1].history.loss) == 80
    for count in devices[1:]:
        assert len(runs[count].history.loss) == 20
        assert language.apart(runs[1], runs[count]).max() < 1e-4
        evaluations = [run.history.evaluation for run in (runs[1], runs[count])]
        assert np.isfinite(np.concatenate(evaluations)).all()
    printed = capsys.readouterr().out
    assert f"transformer        {table['transformer'].perplexity:10.1f}" in printed
    assert "[...]" in printed


def test_the_text_of_language_model():
    language = example("language_model")
    corpus = language.load()
    for text in ('The "with" statement\n\n   __enter__(self)\n', "na\u00efve\x00 42"):
        assert corpus.tokenizer.decode(corpus.tokenizer.encode(text)) == text
    assert (np.bincount(corpus.train, minlength=language.BYTES)[language.BYTES :] > 0).all()
    assert language.frequencies_of(corpus.train).sum() == pytest.approx(1)
    batch = language.sequences(corpus.train, np.array([0, 7]))
    np.testing.assert_array_equal(batch.tokens[:, 1:], batch.following[:, :-1])
    np.testing.assert_array_equal(batch.following[1], corpus.train[8 : 8 + language.LENGTH])

    few = language.Corpus(corpus.tokenizer, np.array([1, 2, 1, 2, 1, 3]), corpus.held_out)
    one = language.Sequences(np.array([[1]]), np.array([[2]]))
    vars(language)["in_windows"] = lambda tokens: one
    alone, pairs = language.counted(few)
    rare = (2 + 1) / (6 + language.VOCABULARY)
    np.testing.assert_allclose([alone, pairs], [-np.log(rare), -np.log((2 + 10 * rare) / 13)])


def test_clip_training(tmp_path):
    training = example("clip_training")
    devices = min(8, jax.device_count())
    losses = {"CLIP": training.LOSSES["CLIP"]}
    found = training.main(devices, losses, steps=120, out=str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert found["not trained"].within(1) < 0.02
    assert found["CLIP"].within(1) > found["linear"].within(1) + 0.04 > 0.09
    assert found["CLIP"].within(5) > found["linear"].within(5) + 0.08
    exact = training.search(np.eye(3), np.eye(3)[[0, 2, 1]])
    np.testing.assert_array_equal(exact.first, [0, 2, 1])
    assert exact.within(1) == pytest.approx(1 / 3)


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
@pytest.mark.parametrize("loss", ["CLIP", "SigLIP"])
def test_no_device_of_clip_training_holds_all_similarities(loss):
    training = example("clip_training", BATCH=256, TILE=64, HIDDEN=24, FEATURES=12)
    halves, _ = training.load()
    mesh = training.mesh_of(8)
    whole, by_pairs = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        for axes in ([], ["pairs"])
    )
    step = training.minimizing(training.LOSSES[loss], steps=10)
    state = step.init(jax.device_put(training.initial_params(seed=0), whole))
    batch = jax.device_put(training.batch_of(halves, 0), by_pairs)
    text = step.step.lower(state, batch).compile().as_text()
    shapes = re.findall(r"f32\[(\d+),(\d+)\]", text)
    assert ("64", "32") in shapes  # the rows of a tile, and the columns of a device
    assert max(int(rows) * int(columns) for rows, columns in shapes) == 64 * 32


def test_dpo_toy(tmp_path):
    toy = example("dpo_toy", PAIRS=2048, TEST=512, DRAWN=1024, EVERY=50)
    methods = {name: toy.METHODS[name] for name in ("dpo", "ipo")}
    runs, goal, truth = toy.main(methods, steps=150, out=str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    dpo, ipo = runs["dpo"], runs["ipo"]
    assert abs(dpo.way[0].won - 0.5) < 0.04
    assert dpo.way[0].divergence == pytest.approx(0, abs=1e-5)
    assert goal.won - 0.1 < dpo.end.won < goal.won + 0.05
    assert goal.divergence / 2 < dpo.end.divergence < 2 * goal.divergence
    assert np.corrcoef(dpo.margins, truth)[0, 1] > 0.8
    assert truth.mean() / 2 < dpo.margins.mean() < 1.5 * truth.mean()
    assert ipo.end.won > 0.6
    assert ipo.end.divergence < dpo.end.divergence


def test_the_annotator_of_dpo_toy():
    toy = example("dpo_toy")
    words = [[toy.ALPHABET.index(x) for x in word.ljust(12)] for word in ("banana", "string", "a")]
    words = jnp.array(words, jnp.int32)
    np.testing.assert_array_equal(toy.points(words), [0, -3, 0])
    np.testing.assert_array_equal(toy.exist(words).sum(-1), [7, 7, 2])
    assert toy.spelled(words) == ["banana", "string", "a"]
    mine, theirs = jnp.array([0.0, -4.0, -1.0]), jnp.array([-1.0, -2.0, -1.0, 0.0])
    wins = [(m > t) + (m == t) / 2 for m in mine.tolist() for t in theirs.tolist()]
    np.testing.assert_allclose(toy.won(mine, theirs), np.mean(wins), rtol=1e-6)
