"""Chains of labels scored by neighbors: what is left of them, given the frames, is a Markov chain.

Backwards, each label gets the score of all that may follow. A softmax over the next label's score,
with all that, is then the probability of the next label given the one before: the loss of a chain
is a sum of cross-entropies, each at least 0 and exact for a sure model, and what becomes of
probabilities forwards is positive at every step. Nothing is exponentiated that may overflow.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core.classes import is_label, label_nll
from jaxloss.core.exponentials import difference
from jaxloss.core.inputs import at_least_float32


class Frames(NamedTuple):
    """What the frames say of the labels."""

    logits: Float[Array, "batch time classes"]
    transitions: Float[Array, "classes classes"]  # logits of each next label in a row
    present: Bool[Array, "batch time"]

    @property
    def first(self) -> Bool[Array, "batch time"]:
        """Which frame is the first that there is: none leads to it."""
        return self.present & (jnp.cumsum(self.present, 1) == 1)


@jax.custom_jvp
def chain_nll(frames: Frames, labels: Int[Array, "batch time"]) -> Float[Array, " batch"]:
    """Minus the log-probability of each chain of labels."""
    return _nll(frames, labels, _onward(frames))


@chain_nll.defjvp
def _chain_nll_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """By what classes, and pairs of them, have of the probability, minus what they should have."""
    (frames, labels), (tangent, _) = primals, tangents
    onward = _onward(frames)
    nll = _nll(frames, labels, onward)
    possible = ~jnp.isinf(nll)[:, None, None]
    classes, pairs = (jnp.where(possible, x, 0) for x in _excess(frames, labels, onward))
    in_logits = (classes * at_least_float32(tangent.logits)).sum((1, 2))
    return nll, in_logits + (pairs * tangent.transitions[None]).sum((1, 2))


def chain_marginals(frames: Frames) -> Float[Array, "batch time classes"]:
    """The probability of each class at each frame; zeros where there is no frame."""
    onward = _onward(frames)

    def read(before: Array, inputs: tuple[Any, ...]) -> tuple[Array, Array]:
        onward, first, present = inputs
        after = _after(_pairs(before, onward, frames.transitions), onward, first)
        after = jnp.where(present, after, before)
        return after, jnp.where(present, after, 0)

    inputs = onward, *_by_time(frames.first, frames.present)
    return jnp.moveaxis(jax.lax.scan(read, jnp.zeros_like(onward.score[0]), inputs)[1], 0, 1)


def best_chain(frames: Frames) -> tuple[Int[Array, "batch time"], Float[Array, " batch"]]:
    """The most likely labels, -1 where there is no frame, and their score."""
    logits = at_least_float32(frames.logits)
    logits, first, present = _by_time(logits, frames.first, frames.present)
    same = jax.lax.broadcasted_iota(jnp.int32, logits.shape[1:], 1)

    def forwards(best: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        logits, first, present = inputs
        to = best[..., None] + frames.transitions[None]
        after = jnp.where(first, 0, to.max(1)) + logits
        source = jnp.where(present, to.argmax(1).astype(jnp.int32), same)
        return jnp.where(present, after, best), source

    def backwards(label: Array, source: Array) -> tuple[Array, Array]:
        return jnp.take_along_axis(source, label[:, None], 1).squeeze(1), label

    best, sources = jax.lax.scan(forwards, jnp.zeros_like(logits[0]), (logits, first, present))
    last = best.argmax(-1).astype(jnp.int32)
    _, labels = jax.lax.scan(backwards, last, sources, reverse=True)
    return jnp.where(frames.present, jnp.moveaxis(labels, 0, 1), -1), best.max(-1)


class _Onward(NamedTuple):
    """Of each frame, what comes of a class there; and of the class before, how it gets there."""

    score: Float[Array, "time batch classes"]  # of all that leads on, relative to the likeliest
    top: Float[Array, "time batch classes"]  # the largest of the scores of getting there
    log_total: Float[Array, "time batch classes"]  # of their exponentials, relative to that


def _onward(frames: Frames) -> _Onward:
    logits, present = _by_time(at_least_float32(frames.logits), frames.present)

    def back(rest: Array, inputs: tuple[Array, Array]) -> tuple[Array, _Onward]:
        logits, present = inputs
        score = jnp.where(rest == -jnp.inf, -jnp.inf, logits + rest)
        score = difference(score, _finite(score.max(-1, keepdims=True)))
        # The next class along the second axis: XLA on a CPU vectorizes a sum over that.
        ways = score[..., None] + frames.transitions.T[None]
        top = _finite(ways.max(1))
        total = jnp.exp(ways - top[:, None]).sum(1)
        log_total = jnp.log(jnp.where(total == 0, 1, total))
        before = jnp.where(total == 0, -jnp.inf, top + log_total)
        return jnp.where(present, before, rest), _Onward(score, top, log_total)

    inputs = logits, present
    return jax.lax.scan(back, jnp.zeros_like(logits[0]), inputs, reverse=True)[1]


def _finite(top: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The largest logits, held constant, and 0 where all are minus infinity."""
    top = jax.lax.stop_gradient(top)
    return jnp.where(top == -jnp.inf, 0, top)


def _nll(
    frames: Frames, labels: Int[Array, "batch time"], onward: _Onward
) -> Float[Array, " batch"]:
    scores = jnp.moveaxis(onward.score, 0, 1)
    ways = frames.transitions[_previous(labels, frames.present)] + scores
    nll = label_nll(jnp.where(frames.first[..., None], scores, ways), labels)
    none = (frames.first & (scores == -jnp.inf).all(-1)).any(1)
    return jnp.where(none, jnp.inf, jnp.where(frames.present, nll, 0).sum(1))


def _previous(
    labels: Int[Array, "batch time"], present: Bool[Array, "batch time"]
) -> Int[Array, "batch time"]:
    """The label of the last frame before that there is; of the first frames, any."""
    position = jax.lax.broadcasted_iota(jnp.int32, labels.shape, 1)
    last = jax.lax.cummax(jnp.where(present, position, 0), axis=1)
    return jnp.pad(jnp.take_along_axis(labels, last, 1), ((0, 0), (1, 0)))[:, :-1]


def _pairs(
    before: Float[Array, "batch classes"],
    onward: _Onward,
    transitions: Float[Array, "classes classes"],
) -> Float[Array, "batch classes classes"]:
    """The probabilities of a class and the next one, from those of the class."""
    ways = onward.score[:, None] + transitions[None]
    return before[..., None] * jnp.exp((ways - onward.top[..., None]) - onward.log_total[..., None])


def _after(
    pairs: Float[Array, "batch classes classes"], onward: _Onward, first: Bool[Array, "batch 1"]
) -> Float[Array, "batch classes"]:
    """The probabilities of the next class; none leads to that of the first frame."""
    alone = jnp.exp(onward.score)
    whole = alone.sum(-1, keepdims=True)
    return jnp.where(first, alone / jnp.where(whole == 0, 1, whole), pairs.sum(1))


def _excess(
    frames: Frames, labels: Int[Array, "batch time"], onward: _Onward
) -> tuple[Float[Array, "batch time classes"], Float[Array, "batch classes classes"]]:
    """The probability of each class, and the number of each pair, beyond those of the labels.

    The labels' own are minus the sum of the others: 1 - p would lose the digits of a sure model.
    """
    start = jnp.zeros_like(onward.score[0])

    def read(state: tuple[Array, Array], inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        (before, counts), (onward, first, present, source, label) = state, inputs
        pairs = _pairs(before, onward, frames.transitions)
        after = _after(pairs, onward, first)
        given, counted = source[..., None] & label[:, None], (present & ~first)[..., None]
        counts = counts + jnp.where(counted & ~given, pairs, 0)
        others = jnp.where(label, 0, after)
        lost = others.sum(-1, keepdims=True)
        # To the label from another than the one before.
        strayed = jnp.where(label[:, None] & ~source[..., None], pairs, 0).sum((1, 2))[:, None]
        missing = jnp.where(present & ~first, lost + strayed, 0)
        classes = jnp.where(present, jnp.where(label, -lost, others), 0)
        return (jnp.where(present, after, before), counts), (classes, missing.squeeze(1))

    previous = _previous(labels, frames.present)
    one_hots = (is_label(frames.logits, x) for x in (previous, labels))
    inputs = onward, *_by_time(frames.first, frames.present, *one_hots)
    none = jnp.zeros_like(jnp.broadcast_to(start[..., None], (*start.shape, start.shape[1])))
    (_, counts), (classes, missing) = jax.lax.scan(read, (start, none), inputs)
    subtract = jax.vmap(lambda counts, row, column, share: counts.at[row, column].add(-share))
    return jnp.moveaxis(classes, 0, 1), subtract(counts, previous, labels, missing.T)


def _by_time(*arrays: Array) -> list[Any]:
    """With time in front, and at least three axes."""
    moved = (jnp.moveaxis(x, 1, 0) for x in arrays)
    return [x[..., None] if x.ndim == 2 else x for x in moved]
