"""How often a comparison is wrong: simulations in which the truth is known.

In each world the baseline and its rival are equally good, so that a comparison at 5 % should find a
difference in 5 % of all samples, and its 95 % interval should contain zero in 95 %. Beside it stand
the usual shortcuts. Last comes how often a true difference is found.

    python -m benchmarks.comparison
"""

import argparse
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special

from jaxloss.evaluation import Comparison, Evaluation, compare
from jaxloss.evaluation.evaluating import PerExample
from jaxloss.evaluation.exact import nothing

LEVEL = 0.05


class World(NamedTuple):
    """Where samples come from."""

    sample: Callable[[np.random.Generator], dict[str, list[Evaluation]]]
    """two models or more, the baseline first, each with one run or several"""
    shortcut: Callable[[dict[str, list[Evaluation]]], float]
    """the p-value that one might take instead"""
    shortcut_name: str


def evaluation(
    losses: np.ndarray, weights: np.ndarray | None = None, clusters: np.ndarray | None = None
) -> Evaluation:
    """As if these losses, of one example each, had come out of ``evaluate``."""
    count = len(losses)
    weights = np.ones(count) if weights is None else weights
    clusters = np.arange(count) if clusters is None else clusters
    examples = PerExample(np.arange(count), losses * weights, weights, None, clusters)
    return Evaluation(nothing(), {}, examples)


def differences(models: dict[str, list[Evaluation]]) -> list[np.ndarray]:
    """Of the first run of each rival, by example."""
    base, *rivals = [runs[0].examples for runs in models.values()]
    assert base is not None
    return [rival.losses - base.losses for rival in rivals if rival is not None]


def t_test(sample: np.ndarray) -> float:
    """Student's p-value of a mean of zero."""
    t = sample.mean() / (sample.std(ddof=1) / math.sqrt(len(sample)))
    return 2 * float(scipy.special.stdtr(len(sample) - 1, -abs(t)))


def paired_t(models: dict[str, list[Evaluation]]) -> float:
    """That takes examples for independent, and one seed for the method."""
    return t_test(differences(models)[0])


def smallest_t(models: dict[str, list[Evaluation]]) -> float:
    """Of several, the one that would be reported."""
    return min(t_test(difference) for difference in differences(models))


def token_t(models: dict[str, list[Evaluation]]) -> float:
    """With as many degrees of freedom as there are tokens, each as uncertain as one."""
    (difference,), base = differences(models), models["base"][0].examples
    assert base is not None
    error = math.sqrt(1.0 / base.weights.sum())
    mean = float((difference * base.weights).sum() / base.weights.sum())
    return 2 * float(scipy.special.ndtr(-abs(mean / error)))


def percentile_bootstrap(models: dict[str, list[Evaluation]]) -> float:
    """What one writes in three lines."""
    (difference,) = differences(models)
    random, count = np.random.default_rng(0), len(difference)
    means = difference[random.integers(0, count, (499, count))].mean(1)
    return 2 * min(((means <= 0).sum() + 1) / 500, ((means >= 0).sum() + 1) / 500)


def independent(draw: Callable[[np.random.Generator, int], np.ndarray], count: int) -> World:
    """Differences drawn one by one, on top of what both models find equally hard."""

    def sample(random: np.random.Generator) -> dict[str, list[Evaluation]]:
        hard = random.gamma(1.5, 1.5, count)
        return {"base": [evaluation(hard)], "rival": [evaluation(hard + draw(random, count))]}

    return World(sample, percentile_bootstrap, "percentile bootstrap")


def clustered(documents: int) -> World:
    """Tokens of documents of uneven length, alike within a document."""

    def sample(random: np.random.Generator) -> dict[str, list[Evaluation]]:
        lengths = random.integers(5, 80, documents)
        cluster = np.repeat(np.arange(documents), lengths)
        of_document = 0.3 * random.normal(size=documents)
        difference = random.normal(size=len(cluster)) + of_document[cluster]
        base = random.normal(size=len(cluster))
        return {
            "base": [evaluation(base, clusters=cluster)],
            "rival": [evaluation(base + difference, clusters=cluster)],
        }

    return World(sample, paired_t, "t-test over tokens")


def token_means(documents: int) -> World:
    """The same, each document one example that weighs as many as its tokens."""

    def sample(random: np.random.Generator) -> dict[str, list[Evaluation]]:
        lengths = random.integers(5, 200, documents).astype(float)
        noise = 0.3 * random.normal(size=documents) + random.normal(size=documents) / lengths**0.5
        base = 2 + random.normal(size=documents)
        return {
            "base": [evaluation(base, weights=lengths)],
            "rival": [evaluation(base + noise, weights=lengths)],
        }

    return World(sample, token_t, "t-test as if of tokens")


def unequal(documents: int) -> World:
    """Likewise, of documents some of which are a hundred times as long as others."""

    def sample(random: np.random.Generator) -> dict[str, list[Evaluation]]:
        lengths = np.ceil(np.exp(3 + 1.2 * random.normal(size=documents)))
        noise = 0.3 * random.normal(size=documents) + random.normal(size=documents) / lengths**0.5
        base = 2 + random.normal(size=documents)
        return {
            "base": [evaluation(base, weights=lengths)],
            "rival": [evaluation(base + noise, weights=lengths)],
        }

    return World(sample, token_t, "t-test as if of tokens")


def candidates(count: int, rivals: int) -> World:
    """Many rivals, none of which is better."""

    def sample(random: np.random.Generator) -> dict[str, list[Evaluation]]:
        hard = random.normal(size=count)
        rival = {
            f"rival {k}": [evaluation(hard + random.normal(size=count))] for k in range(rivals)
        }
        return {"base": [evaluation(hard)], **rival}

    return World(sample, smallest_t, "t-tests, uncorrected")


def methods(runs: int, count: int, seed_effect: float, example_effect: float) -> World:
    """Two methods that are equally good on average over seeds and examples."""

    def sample(random: np.random.Generator) -> dict[str, list[Evaluation]]:
        hard = random.normal(size=count)
        of_example = example_effect * random.normal(size=count)
        base = [evaluation(hard + 0.1 * random.normal(size=count)) for _ in range(runs)]
        rival = [
            evaluation(
                hard + of_example + seed_effect * random.normal() + 0.1 * random.normal(size=count)
            )
            for _ in range(runs)
        ]
        return {"base": base, "rival": rival}

    return World(sample, paired_t, "t-test of the first seeds")


def normal(random: np.random.Generator, count: int) -> np.ndarray:
    """Differences as textbooks have them."""
    return random.normal(size=count)


def skewed(random: np.random.Generator, count: int) -> np.ndarray:
    """Many small gains, few large losses."""
    return random.exponential(size=count) ** 1.5 - math.gamma(2.5)


def heavy(random: np.random.Generator, count: int) -> np.ndarray:
    """Student's t with barely a variance."""
    return random.standard_t(2.2, size=count)


WORLDS = {
    "30 normal": independent(normal, 30),
    "30 skewed": independent(skewed, 30),
    "30 heavy-tailed": independent(heavy, 30),
    "200 normal": independent(normal, 200),
    "200 skewed": independent(skewed, 200),
    "200 heavy-tailed": independent(heavy, 200),
    "1000 skewed": independent(skewed, 1000),
    "4000 tokens of 100 documents": clustered(100),
    "200 documents, by token": token_means(200),
    "30 very unequal documents": unequal(30),
    "9 rivals, 500": candidates(500, 9),
    "5 seeds, 2000": methods(5, 2000, seed_effect=0.02, example_effect=0.5),
    "5 seeds alike, 500": methods(5, 500, seed_effect=0.0, example_effect=0.0),
    "3 seeds differ, 500": methods(3, 500, seed_effect=0.3, example_effect=0.5),
}


class Rates(NamedTuple):
    """How often a difference was found that there is not, by us and by the shortcut."""

    ours: float
    covered: float
    """how often the interval of the first rival had zero in it"""
    shortcut: float


def rates(world: World, samples: int, first_seed: int = 0) -> Rates:
    """Simulate a world so many times."""
    found, covered, shortcut = 0, 0, 0
    for seed in range(first_seed, first_seed + samples):
        models = world.sample(np.random.default_rng(seed))
        comparison = compare(models, confidence=1 - LEVEL)
        found += any_found(comparison)
        difference = comparison.models[list(models)[1]].difference
        covered += difference is not None and difference.low <= 0 <= difference.high
        shortcut += world.shortcut(models) <= LEVEL
    return Rates(found / samples, covered / samples, shortcut / samples)


def any_found(comparison: Comparison) -> bool:
    """Whether any rival was called better or worse."""
    return any(model.verdict in ("better", "worse") for model in comparison.models.values())


def power(gap: float, samples: int) -> tuple[float, float]:
    """How often a gap is found in 2000 examples: paired, and by a test without pairing."""
    paired, unpaired = 0, 0
    for seed in range(samples):
        random = np.random.default_rng(seed)
        hard = random.gamma(1.5, 1.5, 2000)
        base, rival = (hard + 0.3 * random.normal(size=2000) for _ in range(2))
        rival = rival + gap
        comparison = compare({"base": evaluation(base), "rival": evaluation(rival)})
        paired += any_found(comparison)
        error = math.sqrt((base.var(ddof=1) + rival.var(ddof=1)) / 2000)
        unpaired += abs(rival.mean() - base.mean()) / error > 1.96
    return paired / samples, unpaired / samples


def main(samples: int) -> None:
    """Print a table of rates."""
    print(f"share of {samples} samples without a difference in which one is found; 0.05 is right")
    print(f"{'world':30}{'compare':>9}{'interval':>10}{'shortcut':>10}")
    for name, world in WORLDS.items():
        found = rates(world, samples)
        print(
            f"{name:30}{found.ours:9.3f}{found.covered:10.3f}{found.shortcut:10.3f}"
            f"  {world.shortcut_name}",
            flush=True,
        )
    paired, unpaired = power(0.02, samples)
    print(f"share in which a gap of 0.02 is found: {paired:.2f} paired, {unpaired:.2f} unpaired")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How often a comparison is wrong.")
    parser.add_argument("--samples", type=int, default=600, help="per world (default: 600)")
    main(parser.parse_args().samples)
