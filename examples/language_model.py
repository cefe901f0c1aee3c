"""A small language model that writes like Python's documentation, on one device and on eight.

The text is that of ``help()``, which ships with every Python: some 80,000 words. Tokens are words
with the space before them, and punctuation; what is rare is spelled in bytes, so that nothing is
unknown. Every tenth topic is held out. The model is a transformer of two layers in plain JAX, whose
output layer is its embedding, fused with the loss: the logits, by far the largest array, never
exist all at once. It starts from how often each token occurs, and stops when what is held out is
predicted no better.

On eight devices the first quarter of the run is taken again. Each quarter of the sequences is with
two of them, which share the vocabulary, half of it each. The losses are the same, to the rounding
of sums taken in another order.

Prints the perplexity of what is held out (of how many tokens the next one might be any, as far as
the model knows) and the bits it takes per byte: by how often tokens occur, by how often pairs of
them do, and by the model; how far the loss curves are apart; and some text that the model wrote.
Writes language_model.png: the loss curves.

    python examples/language_model.py
"""

import argparse
import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from pydoc_data.topics import topics
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from matplotlib.figure import Figure

from jaxloss import kernels
from jaxloss.distributed import sharded
from jaxloss.training import Fit, fit, make_train_step
from jaxloss.training.convergence import any_of, divergence, nonfinite, patience

VOCABULARY, BYTES = 4096, 256
LENGTH, BATCH = 64, 8
LAYERS, HEADS, FEATURES = 2, 4, 96
STEPS, EVERY = 400, 80
LEARNING_RATE, WEIGHT_DECAY = 6e-3, 0.1
SMOOTH = 10  # steps, in the figure
PIECE = re.compile(r" ?[A-Za-z]+|\d|\n *| +|[^\w\s]|_+|.", re.DOTALL)


# The data


class Tokenizer:
    """Frequent words and pieces of punctuation by number, after the numbers of all bytes."""

    def __init__(self, text: str) -> None:
        frequent = Counter(PIECE.findall(text)).most_common(VOCABULARY - BYTES)
        self.pieces = [bytes([byte]) for byte in range(BYTES)]
        self.pieces += [piece.encode() for piece, _ in frequent]
        self.numbers = {piece: number for number, piece in enumerate(self.pieces[BYTES:], BYTES)}

    def encode(self, text: str) -> np.ndarray:
        """The numbers of the tokens."""
        pieces = (piece.encode() for piece in PIECE.findall(text))
        known = ([self.numbers[p]] if p in self.numbers else list(p) for p in pieces)
        return np.fromiter(itertools.chain.from_iterable(known), np.int32)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text."""
        return b"".join(self.pieces[token] for token in tokens).decode(errors="replace")


class Corpus(NamedTuple):
    """Tokens to learn from, and those held out."""

    tokenizer: Tokenizer
    train: np.ndarray
    held_out: np.ndarray


def load() -> Corpus:
    """Every tenth topic is held out, and unseen also by the tokenizer."""
    names = sorted(topics)
    train = "\n\n".join(topics[name] for name in names if names.index(name) % 10)
    tokenizer = Tokenizer(train)
    held_out = "\n\n".join(topics[name] for name in names[::10])
    return Corpus(tokenizer, tokenizer.encode(train), tokenizer.encode(held_out))


def frequencies_of(tokens: np.ndarray) -> np.ndarray:
    """Of all tokens, as if each had occurred once more."""
    often = np.bincount(tokens, minlength=VOCABULARY) + 1.0
    return often / often.sum()


class Sequences(NamedTuple):
    """Tokens, and the token after each."""

    tokens: np.ndarray
    following: np.ndarray


def sequences(tokens: np.ndarray, starts: np.ndarray) -> Sequences:
    """Those of ``LENGTH`` tokens from each start."""
    rows = tokens[starts[:, None] + np.arange(LENGTH + 1)]
    return Sequences(rows[:, :-1], rows[:, 1:])


# The model


class Layer(NamedTuple):
    """What attends, and what follows it; each with a leading axis of all layers."""

    attend: jax.Array
    gather: jax.Array
    widen: jax.Array
    narrow: jax.Array


class Params(NamedTuple):
    """A transformer whose output layer is its embedding."""

    embedding: jax.Array
    position: jax.Array
    layers: Layer
    gain: jax.Array
    bias: jax.Array


def initial_params(frequencies: np.ndarray, seed: int) -> Params:
    """Small numbers, and for biases what is known without looking at any other token."""
    random = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 0.02) -> jax.Array:
        return jnp.float32(random.normal(scale=scale, size=shape))

    into, out = FEATURES**-0.5, FEATURES**-0.5 / (2 * LAYERS)
    return Params(
        embedding=normal(VOCABULARY, FEATURES),
        position=normal(LENGTH, FEATURES),
        layers=Layer(
            attend=normal(LAYERS, FEATURES, 3 * FEATURES, scale=into),
            gather=normal(LAYERS, FEATURES, FEATURES, scale=out),
            widen=normal(LAYERS, FEATURES, 4 * FEATURES, scale=into),
            narrow=normal(LAYERS, 4 * FEATURES, FEATURES, scale=out),
        ),
        gain=jnp.ones(FEATURES),
        bias=jnp.float32(np.log(frequencies)),
    )


def normalized(x: jax.Array) -> jax.Array:
    """Each state with a root mean square of one."""
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def hidden_states(params: Params, tokens: jax.Array | np.ndarray) -> jax.Array:
    """What the model makes of each token and those before it, for a batch of sequences."""

    def apply(x: jax.Array, layer: Layer) -> tuple[jax.Array, None]:
        attend = (normalized(x) @ layer.attend).reshape(*x.shape[:2], 3, HEADS, -1)
        query, key, value = jnp.moveaxis(attend, 2, 0)
        seen = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        x += seen.reshape(x.shape) @ layer.gather
        return x + jax.nn.gelu(normalized(x) @ layer.widen) @ layer.narrow, None

    start = params.embedding[tokens] + params.position[None]
    x, _ = jax.lax.scan(apply, start, params.layers)
    return normalized(x) * params.gain[None, None]


# Training


def mesh_of(devices: int) -> Mesh:
    """Pairs of devices, which share the vocabulary; each pair has sequences of its own."""
    halves = min(devices, 2)
    kinds = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((devices // halves, halves), ("sequences", "words"), axis_types=kinds)


def train(corpus: Corpus, devices: int, steps: int, most_steps: int) -> Fit:
    """Train for ``steps`` unless it is over earlier; the learning rate ends at ``most_steps``."""
    mesh = mesh_of(devices)
    loss = sharded(
        kernels.linear_softmax_cross_entropy,
        mesh=mesh,
        hidden=PartitionSpec("sequences"),
        kernel=PartitionSpec(None, "words"),
    )

    def objective(params: Params, batch: Sequences) -> jax.Array:
        hidden = hidden_states(params, batch.tokens)
        return loss(hidden, params.embedding.T, batch.following, bias=params.bias)

    rate = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, most_steps // 10, most_steps)
    optimizer = optax.adamw(rate, b2=0.95, weight_decay=WEIGHT_DECAY)
    step = make_train_step(
        objective,
        optax.chain(optax.clip_by_global_norm(1.0), optimizer),
        tracker=any_of(broken=nonfinite(3), diverged=divergence()),
    )
    whole, rows, words = (
        NamedSharding(mesh, spec)
        for spec in (PartitionSpec(), PartitionSpec("sequences"), PartitionSpec("words"))
    )
    params = jax.device_put(initial_params(frequencies_of(corpus.train), seed=0), whole)
    params = params._replace(
        embedding=jax.device_put(params.embedding, words), bias=jax.device_put(params.bias, words)
    )
    held_out = jax.device_put(in_windows(corpus.held_out), rows)
    measure = jax.jit(objective)

    def batches(step: int) -> Sequences:
        random = np.random.default_rng(step)
        return sequences(corpus.train, random.integers(0, len(corpus.train) - LENGTH, BATCH))

    return fit(
        step,
        step.init(params),
        batches,
        steps=steps,
        evaluate=lambda params: measure(params, held_out),
        evaluate_every=EVERY,
        tracker=patience(2, rtol=1e-3),
        sharding=rows,
        progress=False,
    )


def in_windows(tokens: np.ndarray) -> Sequences:
    """A text in sequences, as many as eight devices can share."""
    starts = np.arange(0, len(tokens) - LENGTH, LENGTH)
    return sequences(tokens, starts[: len(starts) // 8 * 8])


# What it has learnt


class Row(NamedTuple):
    """How well the tokens held out are predicted."""

    nats: float
    """the mean negative log-probability of a token"""
    perplexity: float
    bits_per_byte: float


def row(corpus: Corpus, nats: float) -> Row:
    """The same in three units."""
    following = in_windows(corpus.held_out).following
    size = sum(len(corpus.tokenizer.pieces[token]) for token in following.ravel())
    return Row(nats, math.exp(nats), nats / math.log(2) * following.size / size)


def counted(corpus: Corpus) -> tuple[float, float]:
    """What is lost by predicting tokens by how often they, and pairs of them, occurred."""
    alone = frequencies_of(corpus.train)
    pairs = np.zeros((VOCABULARY, VOCABULARY), np.float32)
    np.add.at(pairs, (corpus.train[:-1], corpus.train[1:]), 1.0)
    tokens, following = map(np.ravel, in_windows(corpus.held_out))
    unseen = 10.0  # pairs of each first token, as if the second did not depend on it
    seen = pairs[tokens, following] + unseen * alone[following]
    together = seen / (pairs.sum(1)[tokens] + unseen)
    return -np.log(alone[following]).mean(), -np.log(together).mean()


def write(params: Params, start: np.ndarray, count: int, temperature: float = 0.7) -> np.ndarray:
    """So many tokens more, none of them a mere byte, by what the model expects after the last."""

    def add(window: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = hidden_states(params, window[None])[0, -1]
        logits = hidden @ params.embedding.T + params.bias
        logits = jnp.where(jnp.arange(VOCABULARY) < BYTES, -jnp.inf, logits)
        token = jax.random.categorical(key, logits / temperature).astype(window.dtype)
        return jnp.append(window[1:], token), token

    params = jax.tree.map(jnp.asarray, jax.device_get(params))
    keys = jax.random.split(jax.random.key(0), count)
    _, tokens = jax.jit(lambda: jax.lax.scan(add, jnp.asarray(start[-LENGTH:]), keys))()
    return np.asarray(tokens)


def main(
    devices: Sequence[int] = (1, 8), steps: int = STEPS, out: str = "language_model.png"
) -> tuple[dict[str, Row], dict[int, Fit]]:
    """Train on so many devices each, print the table and a sample, and draw the figure."""
    corpus = load()
    print(f"{len(corpus.train)} tokens to learn from, {len(corpus.held_out)} held out")
    print(f"{'':18} {'perplexity':>10} {'bits per byte':>13}")
    alone, pairs = counted(corpus)
    table = {"counts of tokens": row(corpus, alone), "counts of pairs": row(corpus, pairs)}
    first, *others = devices
    runs = {first: train(corpus, first, steps, steps)}
    lowest = runs[first].best_value
    assert lowest is not None
    table["transformer"] = row(corpus, lowest)
    for name, found in table.items():
        print(f"{name:18} {found.perplexity:10.1f} {found.bits_per_byte:13.2f}", flush=True)
    print(f"on {devices_in_words(first)}: {runs[first].explanation}")
    for count in others:
        runs[count] = train(corpus, count, steps // 4, steps)
        most = apart(runs[first], runs[count]).max()
        print(f"on {devices_in_words(count)}: the losses differ by {most:.0e} of them at most")
    draw(table, runs, out)
    start = corpus.held_out[: 2 * LENGTH]
    written = write(runs[first].best_params, start, 120)
    print(f"wrote {out}, and after the beginning of a topic that it had not seen:\n")
    print(corpus.tokenizer.decode(start), "[...]", corpus.tokenizer.decode(written), sep="")
    return table, runs


def devices_in_words(count: int) -> str:
    """One device, or several."""
    return f"{count} device" + "s" * (count != 1)


def apart(one: Fit, other: Fit) -> np.ndarray:
    """By what fraction the losses of two runs differ, at each step that both took."""
    steps = min(len(one.history.loss), len(other.history.loss))
    return np.abs(other.history.loss[:steps] / one.history.loss[:steps] - 1)


def draw(table: dict[str, Row], runs: dict[int, Fit], out: str) -> None:
    """How the loss fell, and its beginning on other devices."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    (devices, first), *others = runs.items()
    history = first.history
    smooth = np.convolve(history.loss, np.full(SMOOTH, 1 / SMOOTH), mode="valid")
    steps = np.arange(SMOOTH, len(history.loss) + 1)
    left.plot(steps, smooth, color="C0", alpha=0.6, label=f"training, mean of {SMOOTH} steps")
    left.plot(history.evaluation_step, history.evaluation, "o-", color="C1", label="held out")
    for color, name in zip(("C7", "C3"), ("counts of tokens", "counts of pairs"), strict=True):
        left.axhline(table[name].nats, color=color, linestyle="--", linewidth=1.2, label=name)
    left.set_ylabel("cross-entropy of a token, in nats")
    left.set_title(f"perplexity {table['transformer'].perplexity:.0f} of what is held out")
    most = max([0, *(len(result.history.loss) for _, result in others)]) or len(history.loss)
    name = devices_in_words(devices)
    right.plot(history.loss[:most], color="C0", alpha=0.35, linewidth=5, label=name)
    for color, (count, result) in zip(("C3", "C2", "C4"), others, strict=False):
        name = devices_in_words(count)
        right.plot(result.history.loss, color=color, linewidth=1, label=name)
    right.set_title("the same on several devices" if others else "the batches")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.legend(loc="upper right")
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A language model of Python's documentation.")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 8], help="simulated")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"at most (default: {STEPS})")
    parser.add_argument("--out", default="language_model.png", help="where to draw the figure")
    given = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", max(given.devices))
    main(given.devices, given.steps, given.out)
