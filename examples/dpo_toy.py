"""Preference optimization of a policy that writes words, until they are easy to say.

The reference has learnt from ``help()`` how to spell words, letter by letter. An annotator likes
vowels and consonants to take turns: two neighbors of one kind cost a point, and of two words the
better one is preferred with the probability that a logistic curve gives to the difference. All that
is seen are pairs of words that the reference wrote, and which of the two was preferred.

As the annotator is known here, it is known what DPO is to find: among all policies, the one that
has each word of the reference ``exp(points / scale)`` times as often, and so rewards that differ
within each pair as much as points do. IPO wants only a limited lead. SimPO has no reference, and
compares means over letters, so that no word is preferred because it is short.

Prints for each loss how often the policy's words are better than those of the reference (a tie is
half a win), the divergence from the reference that this takes, how often the implied reward agrees
with the annotator on pairs held out, by how much it differs within these, and some words; and what
is best for DPO. Writes dpo_toy.png: the way of each run, and the rewards that DPO implies.

    python examples/dpo_toy.py
"""

import argparse
import re
from collections.abc import Callable, Mapping
from functools import partial
from pydoc_data.topics import topics
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from jaxloss import kernels, policy, preference, reference_free
from jaxloss.training import fit, make_train_step
from jaxloss.training.convergence import patience

ALPHABET = " abcdefghijklmnopqrstuvwxyz"  # a space ends a word
SPACE, LONGEST = 0, 12
VOWELS = np.isin(list(ALPHABET), list("aeiouy"))
SEEN, FEATURES, HIDDEN = 4, 16, 96
PAIRS, TEST, BATCH = 4096, 1024, 128
STEPS, EVERY = 400, 25
DRAWN = 2048  # words, to see how good a policy is
SCALE = 0.5  # of DPO
Params = dict[str, jax.Array]


# Words, and the policy that writes them


def known_words() -> np.ndarray:
    """The words of the documentation, each once, as rows of letters that end in spaces."""
    found = set(re.findall(r"[a-z]+", " ".join(topics.values()).lower()))
    kept = sorted(word for word in found if 3 <= len(word) <= LONGEST)
    return np.array([[ALPHABET.index(x) for x in word.ljust(LONGEST)] for word in kept], np.int32)


def spelled(words: jax.Array) -> list[str]:
    """Rows of letters as text."""
    return ["".join(ALPHABET[letter] for letter in row).strip() for row in np.asarray(words)]


def exist(words: jax.Array) -> jax.Array:
    """Which letters there are; the space that ends a word is one."""
    spaces = words == SPACE
    return jnp.cumsum(spaces, -1) <= spaces


def initial_params(seed: int) -> Params:
    """A vector for each letter, a layer on the last few of them, and one for the next."""
    random = np.random.default_rng(seed)
    shapes = {
        "letters": (len(ALPHABET), FEATURES),
        "kernel": (SEEN * FEATURES, HIDDEN),
        "out": (HIDDEN, len(ALPHABET)),
    }
    return {
        name: jnp.float32(random.normal(scale=shape[0] ** -0.5, size=shape))
        for name, shape in shapes.items()
    }


def hidden_states(params: Params, before: jax.Array) -> jax.Array:
    """What is made of the last ``SEEN`` letters; before a word there are spaces."""
    return jnp.tanh(params["letters"][before].reshape(*before.shape[:-1], -1) @ params["kernel"])


@jax.jit
def log_probabilities(params: Params, words: jax.Array) -> jax.Array:
    """That of each letter; 0 after the end."""
    padded = jnp.pad(words, ((0, 0), (SEEN, 0)))
    before = jnp.stack([padded[:, i : i + LONGEST] for i in range(SEEN)], -1)
    hidden = hidden_states(params, before)
    return kernels.linear_log_probabilities(hidden, params["out"], words, where=exist(words))


@partial(jax.jit, static_argnames="count")
def write(params: Params, key: jax.Array, count: int) -> jax.Array:
    """Words drawn from the policy."""

    def add(state: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple, jax.Array]:
        before, ended = state
        logits = hidden_states(params, before) @ params["out"]
        letter = jax.random.categorical(key, logits).astype(jnp.int32)
        letter = jnp.where(ended, SPACE, letter)
        return (jnp.append(before[:, 1:], letter[:, None], 1), letter == SPACE), letter

    start = jnp.full((count, SEEN), SPACE, jnp.int32), jnp.zeros(count, bool)
    _, letters = jax.lax.scan(add, start, jax.random.split(key, LONGEST))
    return letters.T


def speller(steps: int) -> Params:
    """The reference: a policy that has learnt how words are spelled."""
    words = known_words()

    def objective(params: Params, batch: jax.Array) -> jax.Array:
        return -log_probabilities(params, batch).sum() / exist(batch).sum()

    def batches(step: int) -> np.ndarray:
        return words[np.random.default_rng(step).integers(0, len(words), 2 * BATCH)]

    step = make_train_step(objective, optax.adam(optax.cosine_decay_schedule(1e-2, steps)))
    start = step.init(initial_params(seed=0))
    return fit(step, start, batches, steps=steps, progress=False).state.params


# The annotator


class Pairs(NamedTuple):
    """Words, and what the reference says of them, as sums over letters."""

    chosen: jax.Array
    rejected: jax.Array
    reference_chosen: jax.Array
    reference_rejected: jax.Array


def points(words: jax.Array) -> jax.Array:
    """What the annotator thinks of words."""
    vowel, letter = jnp.asarray(VOWELS)[words], words != SPACE
    same = (vowel[:, 1:] == vowel[:, :-1]) & letter[:, 1:] & letter[:, :-1]
    return -same.sum(-1).astype(jnp.float32)


def annotated(reference: Params, key: jax.Array, count: int) -> Pairs:
    """Pairs of words of the reference, the preferred one first."""
    draw, judge = jax.random.split(key)
    one, other = jnp.split(write(reference, draw, 2 * count), 2)
    first = jax.random.bernoulli(judge, jax.nn.sigmoid(points(one) - points(other)))[:, None]
    words = jnp.where(first, one, other), jnp.where(first, other, one)
    return Pairs(*words, *(log_probabilities(reference, x).sum(-1) for x in words))


# The losses


class Method(NamedTuple):
    """A loss, and the rewards that it implies."""

    loss: Callable[[jax.Array, jax.Array, Pairs], jax.Array]
    """of what the policy says of the chosen words and of the rejected ones"""
    reward: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    """of what the policy says of words, what the reference does, and the words"""


def over_letters(total: jax.Array, words: jax.Array) -> jax.Array:
    """The mean, from the sum."""
    return total / exist(words).sum(-1)


def simpo(chosen: jax.Array, rejected: jax.Array, pairs: Pairs) -> jax.Array:
    """Of means over letters."""
    means = over_letters(chosen, pairs.chosen), over_letters(rejected, pairs.rejected)
    return reference_free.simpo(*means, scale=2.0, margin=0.5)


METHODS = {
    "dpo": Method(
        lambda chosen, rejected, pairs: preference.dpo(chosen, rejected, *pairs[2:], scale=SCALE),
        lambda total, reference, words: SCALE * (total - reference),
    ),
    "ipo": Method(
        lambda chosen, rejected, pairs: preference.ipo(chosen, rejected, *pairs[2:], scale=0.2),
        lambda total, reference, words: 0.2 * (total - reference),
    ),
    "simpo": Method(simpo, lambda total, reference, words: 2.0 * over_letters(total, words)),
}


# The experiment


class Progress(NamedTuple):
    """How good a policy's words are, and how unlike those of the reference."""

    won: float
    divergence: float


class Run(NamedTuple):
    """What became of a policy."""

    way: list[Progress]
    """at every look"""
    end: Progress
    """of the policy that explained the pairs held out the best, as all below"""
    agrees: float
    margins: np.ndarray
    """of the implied rewards, in the pairs held out"""
    words: list[str]
    explanation: str


def won(theirs: jax.Array, reference: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """How often one of theirs is better, all points compared with all."""
    scale = jnp.arange(-LONGEST, 1.0)
    of_reference = (reference[:, None] == scale[None]).mean(0)
    below = jnp.cumsum(of_reference) - of_reference / 2
    wins = below[jnp.searchsorted(scale, theirs)]
    return wins.mean() if weights is None else weights @ wins


def prefer(method: Method, reference: Params, train: Pairs, test: Pairs, steps: int) -> Run:
    """Train, from the reference, until the pairs held out are explained no better."""

    def objective(params: Params, batch: Pairs) -> jax.Array:
        words = jnp.concatenate([batch.chosen, batch.rejected])
        chosen, rejected = jnp.split(log_probabilities(params, words).sum(-1), 2)
        return method.loss(chosen, rejected, batch)

    def batches(step: int) -> Pairs:
        rows = np.random.default_rng(step).integers(0, len(train.chosen), BATCH)
        return Pairs(*(x[rows] for x in train))

    theirs = points(write(reference, jax.random.key(6), 4 * DRAWN))

    @jax.jit
    def progress(params: Params) -> tuple[jax.Array, jax.Array]:
        words = write(params, jax.random.key(7), DRAWN)
        both = (log_probabilities(x, words) for x in (params, reference))
        divergence = policy.kl_k3(*both, where=exist(words), reduction="none").sum(-1).mean()
        return won(points(words), theirs), divergence

    measure, way = jax.jit(objective), [progress(reference)]

    def evaluate(params: Params) -> jax.Array:
        way.append(progress(params))
        return measure(params, test)

    step = make_train_step(objective, optax.adam(optax.cosine_decay_schedule(1e-3, steps)))
    result = fit(
        step,
        step.init(reference),
        batches,
        steps=steps,
        evaluate=evaluate,
        evaluate_every=EVERY,
        tracker=patience(4),
        progress=False,
    )
    margins = implied(method, result.best_params, test)
    words = spelled(write(result.best_params, jax.random.key(8), 8))
    *way, end = (Progress(*map(float, x)) for x in [*way, progress(result.best_params)])
    return Run(
        way=way,
        end=end,
        agrees=float((margins > 0).mean()),
        margins=np.asarray(margins),
        words=words,
        explanation=result.explanation,
    )


def implied(method: Method, params: Params, pairs: Pairs) -> jax.Array:
    """By how much the rewards that the policy implies differ within each pair."""
    chosen, rejected = (
        method.reward(log_probabilities(params, words).sum(-1), reference, words)
        for words, reference in (
            (pairs.chosen, pairs.reference_chosen),
            (pairs.rejected, pairs.reference_rejected),
        )
    )
    return chosen - rejected


def best(reference: Params, scales: np.ndarray) -> list[Progress]:
    """What is reached by having each word ``exp(points / scale)`` times as often."""
    theirs = points(write(reference, jax.random.key(9), 32 * DRAWN))
    found = []
    for scale in scales:
        weights = jax.nn.softmax(theirs / scale)
        divergence = weights @ jnp.log(weights * len(theirs))
        found.append(Progress(float(won(theirs, theirs, weights)), float(divergence)))
    return found


def main(
    methods: Mapping[str, Method] = METHODS,
    steps: int = STEPS,
    out: str = "dpo_toy.png",
) -> tuple[dict[str, Run], Progress, np.ndarray]:
    """Train with each loss, print the table and draw the figure."""
    reference = speller(steps)
    train, test = (annotated(reference, jax.random.key(i), n) for i, n in enumerate((PAIRS, TEST)))
    truth = np.asarray(points(test.chosen) - points(test.rejected))
    print(f"{'':10} {'won':>5} {'divergence':>10} {'agrees':>6} {'margin':>6}  words")
    words = ", ".join(spelled(write(reference, jax.random.key(8), 8)))
    print(f"{'reference':10} {0.5:5.2f} {0:10.2f} {'':6} {'':6}  {words}")
    runs = {}
    for name, method in methods.items():
        runs[name] = run = prefer(method, reference, train, test, steps)
        print(f"{name:10} {run.end.won:5.2f} {run.end.divergence:10.2f}", end=" ")
        print(f"{run.agrees:6.2f} {run.margins.mean():6.2f}  {', '.join(run.words)}", flush=True)
    (goal,) = best(reference, np.array([SCALE]))
    agrees = (truth > 0).mean() + (truth == 0).mean() / 2
    print(f"{'best':10} {goal.won:5.2f} {goal.divergence:10.2f} {agrees:6.2f} {truth.mean():6.2f}")
    for name, run in runs.items():
        print(f"{name}: {run.explanation}")
    draw(runs, best(reference, np.geomspace(0.25, 30, 40)), goal, truth, out)
    print(f"wrote {out}")
    return runs, goal, truth


def draw(
    runs: dict[str, Run], frontier: list[Progress], goal: Progress, truth: np.ndarray, out: str
) -> None:
    """What was won for what divergence, and the rewards that the first loss implies."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*reversed(list(zip(*frontier, strict=True))), color="C7", label="the best there is")
    left.plot(goal.divergence, goal.won, "*", color="C7", markersize=14, label=f"at {SCALE}")
    for name, run in runs.items():
        share, divergence = zip(*run.way, strict=True)
        (line,) = left.plot(divergence, share, ".-", linewidth=1.2, label=name)
        left.plot(run.end.divergence, run.end.won, "o", color=line.get_color(), markersize=8)
    left.set(xlabel="divergence from the reference, in nats", ylabel="won against the reference")
    left.set_title("the way of each run, a dot where it was the best")
    left.legend(loc="lower right")
    name, run = next(iter(runs.items()))
    values, often = np.unique(truth.astype(int), return_counts=True)
    values = values[often > 5]
    groups = [run.margins[truth == value] for value in values]
    right.boxplot(groups, positions=values, widths=0.6, showfliers=False)
    right.plot(values, values, color="C7", linestyle="--", label="the same")
    right.set(xlabel="points by which the chosen word leads", ylabel="lead of the implied reward")
    right.set_title(f"{name} on pairs held out")
    right.legend(loc="upper left")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Preference optimization of words.")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"default: {STEPS}")
    parser.add_argument("--out", default="dpo_toy.png", help="where to draw the figure")
    given = parser.parse_args()
    main(steps=given.steps, out=given.out)
