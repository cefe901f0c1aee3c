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

from jaxloss.core.classes import is_label, label_nll, log_partition, softmax
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
    return _nll(frames, labels, _scores(frames))


@chain_nll.defjvp
def _chain_nll_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """By what classes, and pairs of them, have of the probability, minus what they should have."""
    (frames, labels), (tangent, _) = primals, tangents
    scores = _scores(frames)
    nll = _nll(frames, labels, scores)
    possible = ~jnp.isinf(nll)[:, None, None]
    classes, pairs = (jnp.where(possible, x, 0) for x in _excess(frames, labels, scores))
    in_logits = (classes * at_least_float32(tangent.logits)).sum((1, 2))
    return nll, in_logits + (pairs * tangent.transitions[None]).sum((1, 2))


def chain_marginals(frames: Frames) -> Float[Array, "batch time classes"]:
    """The probability of each class at each frame; zeros where there is no frame."""
    scores = _scores(frames)

    def read(before: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        score, first, present = inputs
        after = _pairs(before, score, first, frames.transitions).sum(1)
        after = jnp.where(present, after, before)
        return after, jnp.where(present, after, 0)

    inputs = scores, *_by_time(frames.first, frames.present)
    return jnp.moveaxis(jax.lax.scan(read, _start(scores), inputs)[1], 0, 1)


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


def _scores(frames: Frames) -> Float[Array, "time batch classes"]:
    """Of each frame, how likely each class is to lead on from there, relative to the likeliest."""
    logits, present = _by_time(at_least_float32(frames.logits), frames.present)

    def back(rest: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        logits, present = inputs
        score = jnp.where(rest == -jnp.inf, -jnp.inf, logits + rest)
        top = jax.lax.stop_gradient(score.max(-1, keepdims=True))
        score = difference(score, jnp.where(top == -jnp.inf, 0, top))
        before = log_partition(frames.transitions[None] + score[:, None])
        return jnp.where(present, before, rest), score

    return jax.lax.scan(back, jnp.zeros_like(logits[0]), (logits, present), reverse=True)[1]


def _nll(
    frames: Frames, labels: Int[Array, "batch time"], scores: Float[Array, "time batch classes"]
) -> Float[Array, " batch"]:
    scores = jnp.moveaxis(scores, 0, 1)
    onward = frames.transitions[_previous(labels, frames.present)] + scores
    nll = label_nll(jnp.where(frames.first[..., None], scores, onward), labels)
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
    score: Float[Array, "batch classes"],
    first: Bool[Array, "batch 1"],
    transitions: Float[Array, "classes classes"],
) -> Float[Array, "batch classes classes"]:
    """The probabilities of a label and the next one, from those of the label."""
    rows = jnp.where(first[..., None], 0, transitions[None]) + score[:, None]
    return before[..., None] * softmax(rows)


def _start(scores: Float[Array, "time batch classes"]) -> Float[Array, "batch classes"]:
    """The probabilities before the first frame: any will do."""
    column = jax.lax.broadcasted_iota(jnp.int32, scores.shape[1:], 1)
    return jnp.where(column == 0, jnp.ones_like(scores[0]), 0)


def _excess(
    frames: Frames, labels: Int[Array, "batch time"], scores: Float[Array, "time batch classes"]
) -> tuple[Float[Array, "batch time classes"], Float[Array, "batch classes classes"]]:
    """The probability of each class, and the number of each pair, beyond those of the labels.

    The labels' own are minus the sum of the others: 1 - p would lose the digits of a sure model.
    """

    def read(state: tuple[Array, Array], inputs: tuple[Array, ...]) -> tuple[Any, Array]:
        (before, counts), (score, first, present, source, label) = state, inputs
        pairs = _pairs(before, score, first, frames.transitions)
        after = pairs.sum(1)
        given = source[..., None] & label[:, None]
        others = jnp.where(given, 0, pairs)
        others = jnp.where(given, -others.sum((1, 2))[:, None, None], others)
        classes = jnp.where(label, 0, after)
        classes = jnp.where(label, -classes.sum(-1, keepdims=True), classes)
        counts = counts + jnp.where((present & ~first)[..., None], others, 0)
        return (jnp.where(present, after, before), counts), jnp.where(present, classes, 0)

    one_hots = (is_label(frames.logits, x) for x in (_previous(labels, frames.present), labels))
    inputs = scores, *_by_time(frames.first, frames.present, *one_hots)
    none = jnp.zeros_like(
        jnp.broadcast_to(scores[0][..., None], (*scores.shape[1:], scores.shape[2]))
    )
    (_, counts), classes = jax.lax.scan(read, (_start(scores), none), inputs)
    return jnp.moveaxis(classes, 0, 1), counts


def _by_time(*arrays: Array) -> list[Any]:
    """With time in front, and at least three axes."""
    moved = (jnp.moveaxis(x, 1, 0) for x in arrays)
    return [x[..., None] if x.ndim == 2 else x for x in moved]
