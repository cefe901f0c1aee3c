"""Connectionist temporal classification: the probability of a text whose timing is unknown.

With a blank before and after each label there is exactly one path for each way to read the frames,
so probabilities of paths add up to one with those of what is read otherwise. What is lost at each
frame is a sum of positive parts: from that, not as a difference, comes the loss of a sure model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxloss.core import wide
from jaxloss.core.classes import pick
from jaxloss.core.inputs import at_least_float32
from jaxloss.core.summing import row_sum
from jaxloss.core.wide import Wide


class Text(NamedTuple):
    """What is to be read, in one column for each label and one in front, for none."""

    labels: Int[Array, "*batch columns"]  # in range, those that exist first; -1 for the others
    blank: Int[Array, ""]

    @property
    def exists(self) -> Bool[Array, "*batch columns"]:
        """Which columns have a label; never the first."""
        return self.labels >= 0

    @property
    def is_end(self) -> Bool[Array, "*batch columns"]:
        """Whether a column is that of the last label, or the first if there is none."""
        count = self.exists.sum(-1, keepdims=True)
        return jax.lax.broadcasted_iota(count.dtype, self.labels.shape, 1) == count

    @property
    def is_new(self) -> Bool[Array, "*batch columns"]:
        """Whether a label exists and has not occurred in the columns before."""
        equal = self.labels[..., :, None] == self.labels[..., None, :]
        return self.exists & ~jnp.tril(equal, -1).any(-1)


class _Frames(NamedTuple):
    """What can be read at each frame: logits, and sums of exponentials relative to the largest."""

    label: Float[Array, "*time batch columns"]  # minus infinity where there is no label
    blank: Float[Array, "*time batch 1"]
    top: Float[Array, "*time batch 1"]
    total: Float[Array, "*time batch 1"]
    others: Float[Array, "*time batch 1"]  # but for the largest

    def probabilities(self) -> "_State":
        """Of the label of each column, and of a blank."""
        scale = Wide(1 / self.total, jnp.zeros_like(self.total))
        scores = (_from_top(x, self.top) for x in (self.label, self.blank))
        return _State(*(wide.times(wide.from_log(x), scale) for x in scores))


class _State(NamedTuple):
    """Of each column: that its label was read just now, or a blank after it."""

    label: Wide
    blank: Wide


@jax.custom_jvp
def ctc_nll(
    logits: Float[Array, "batch time classes"],
    text: Text,
    present: Bool[Array, "batch time"] | None,
) -> Float[Array, " batch"]:
    """Minus the log-probability of each text, infinite for what cannot be read from the frames."""
    frames, here = _frames(logits, text), _by_time(present)
    last, _ = _read(frames, text, here, lambda state, frame: None)
    return _nll(_kept(text, last), logits, frames, text, here)


@ctc_nll.defjvp
def _ctc_nll_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    value, slope = _value_and_gradient(*primals)
    return value, (slope * at_least_float32(tangents[0])).sum((-2, -1))


def ctc_forward(
    logits: Float[Array, "batch time classes"],
    text: Text,
    present: Bool[Array, "batch time"] | None,
) -> tuple[Float[Array, "batch time columns"], Float[Array, "batch time columns"]]:
    """Log-probabilities of each state after each frame: a label read just now, a blank since."""
    last, before = _read(_frames(logits, text), text, _by_time(present), lambda state, frame: state)
    after = jax.tree.map(lambda x, y: jnp.concatenate([x[1:], y[None]]), before, last)
    label, blank = (jnp.moveaxis(wide.log(x), 0, 1) for x in after)
    return label, blank


def _value_and_gradient(
    logits: Float[Array, "batch time classes"],
    text: Text,
    present: Bool[Array, "batch time"] | None,
) -> tuple[Float[Array, " batch"], Float[Array, "batch time classes"]]:
    """By what the text's paths have of each class at each frame."""
    frames, here = _frames(logits, text), _by_time(present)
    last, before = _read(frames, text, here, lambda state, frame: state)
    label, blank = _shares(frames, text, here, before, last)
    return _nll(_kept(text, last), logits, frames, text, here), _gradient(
        logits, text, frames, label, blank
    )


def _gradient(
    logits: Float[Array, "batch time classes"],
    text: Text,
    frames: _Frames,
    label: Float[Array, "time batch columns"],
    blank: Float[Array, "time batch 1"],
) -> Float[Array, "batch time classes"]:
    """Probabilities minus shares; above one half both may be near 1: then what is left of them."""
    whole = label.sum(-1, keepdims=True) + blank
    possible = whole > 0
    scale = 1 / jnp.where(possible, whole, 1)
    sure = frames.total < 2
    label = jnp.where(sure & (frames.label == frames.top), 0, label * scale)
    blank = jnp.where(sure & (frames.blank == frames.top), 0, blank * scale)
    surplus = label.sum(-1, keepdims=True) + blank - frames.others / frames.total
    possible, sure, surplus, total, label, blank = (
        jnp.moveaxis(x, 0, 1) for x in (possible, sure, surplus, frames.total, label, blank)
    )
    from_top = _from_top(logits, _top(logits))
    slope = jnp.where(sure & (from_top == 0), surplus, jnp.exp(from_top) / total)
    classes = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2)
    slope = jnp.where(possible, slope - jnp.where(classes == text.blank, blank, 0), 0)
    subtract = jax.vmap(lambda slope, labels, share: slope.at[:, labels].add(-share))
    return subtract(slope, text.labels.clip(0), label)


def _shares(
    frames: _Frames,
    text: Text,
    present: Bool[Array, "time batch 1"] | None,
    before: _State,
    last: _State,
) -> tuple[Float[Array, "time batch columns"], Float[Array, "time batch 1"]]:
    """What part of the text's probability has each label at each frame, and what part a blank.

    Up to a factor between 1/2 and 2.
    """
    changes = _next(text.labels != _previous(text.labels), False)
    one = jnp.ones_like(frames.label[0])
    end = wide.where(text.is_end, Wide(one, jnp.zeros_like(one)))
    whole = _kept(text, last).exponent[:, None]

    def read(states: tuple[_State, _State], inputs: Any) -> tuple[Any, tuple[Array, Array]]:
        (reached, left), (before, frame, present) = states, inputs
        label, blank = (
            wide.to_float(wide.times(x, y)._replace(exponent=x.exponent + (y.exponent - whole)))
            for x, y in zip(reached, left, strict=True)
        )
        shares = label, blank.sum(-1, keepdims=True)
        label, blank = map(wide.times, left, frame.probabilities())
        following = Wide(_next(label.fraction, 0), _next(label.exponent, wide.LOWEST))
        earlier = _State(
            wide.add(label, blank, wide.where(changes, following)), wide.add(blank, following)
        )
        if present is not None:
            earlier = jax.tree.map(lambda x, y: jnp.where(present, x, y), earlier, left)
        return (before, earlier), shares

    start = last, _State(end, end)
    return jax.lax.scan(read, start, (before, frames, present), reverse=True)[1]


def _frames(logits: Float[Array, "batch time classes"], text: Text) -> _Frames:
    top = _top(logits)
    columns = jnp.broadcast_to(text.labels[:, None], (*logits.shape[:2], text.labels.shape[1]))
    label = jnp.take_along_axis(logits, columns, -1, mode="clip")
    label = jnp.where(text.exists[None], at_least_float32(jnp.moveaxis(label, 1, 0)), -jnp.inf)
    blank = at_least_float32(pick(logits, jnp.full(logits.shape[:2], text.blank)))
    from_top = _from_top(logits, top)
    leads, scaled = from_top == 0, jnp.exp(from_top)
    others = row_sum(jnp.where(leads, 0, scaled))[..., None]
    total = others + row_sum(jnp.where(leads, scaled, 0))[..., None]
    rest = (jnp.moveaxis(x, 1, 0) for x in (blank[..., None], top, total, others))
    return _Frames(label, *rest)


def _read(
    frames: _Frames,
    text: Text,
    present: Bool[Array, "time batch 1"] | None,
    note: Callable[[_State, _Frames], Any],
) -> tuple[_State, Any]:
    """The probabilities of all states after the last frame, and a note on those before each."""
    one = jnp.ones_like(frames.label[0])
    column = jax.lax.broadcasted_iota(jnp.int32, text.labels.shape, 1)
    start = _State(wide.zeros(one), wide.where(column == 0, Wide(one, 0 * one)))

    def read(state: _State, inputs: tuple[_Frames, Any]) -> tuple[_State, Any]:
        frame, present = inputs
        after = _State(*map(wide.times, _reached(state, text.labels), frame.probabilities()))
        if present is not None:
            after = jax.tree.map(lambda x, y: jnp.where(present, x, y), after, state)
        return after, note(state, frame)

    return jax.lax.scan(read, start, (frames, present))


def _reached(state: _State, labels: Int[Array, "batch columns"]) -> _State:
    """The probability of each state after another frame, but for what is read there."""
    previous = jax.tree.map(_previous, state)
    changes = labels != _previous(labels)  # else a blank is needed in between
    return _State(
        wide.add(state.label, previous.blank, wide.where(changes, previous.label)),
        wide.add(state.blank, state.label),
    )


def _kept(text: Text, last: _State) -> Wide:
    """The probability of having read the text when the frames end."""
    return wide.add(*(wide.total(wide.where(text.is_end, state), -1) for state in last))


def _nll(
    kept: Wide,
    logits: Float[Array, "batch time classes"],
    frames: _Frames,
    text: Text,
    present: Bool[Array, "time batch 1"] | None,
) -> Float[Array, " batch"]:
    """From the probability of the text or, if that is less, of all else."""
    likely = wide.to_float(kept) > 0.5
    lost = jax.lax.cond(
        likely.any(),
        lambda: _lost(logits, frames, text, present),
        lambda: jnp.zeros_like(kept.fraction),
    )
    return jnp.where(likely, -jnp.log1p(-jnp.where(likely, lost, 0)), -wide.log(kept))


def _lost(
    logits: Float[Array, "batch time classes"],
    frames: _Frames,
    text: Text,
    present: Bool[Array, "time batch 1"] | None,
) -> Float[Array, " batch"]:
    """The probability of reading something else: how much parts with the text at each frame."""
    classes = jax.lax.broadcasted_iota(jnp.int32, (1, 1, logits.shape[-1]), 2)
    is_read = (text.labels[..., None] == classes).any(1, keepdims=True) | (classes == text.blank)
    outside = jnp.where(is_read, 0, jnp.exp(_from_top(logits, _top(logits))))
    outside = jnp.moveaxis(row_sum(outside), 1, 0)[..., None]

    def leaving(state: _State, frame: _Frames) -> Float[Array, "batch columns"]:
        label, blank = _leaks(frame, text)
        return wide.to_float(state.label) * label + wide.to_float(state.blank) * blank

    last, lost = _read(frames._replace(others=outside), text, present, leaving)
    if present is not None:
        lost = jnp.where(present, lost, 0)
    unfinished = [jnp.where(text.is_end, 0, wide.to_float(state)) for state in last]
    return (lost.sum(0) + unfinished[0] + unfinished[1]).sum(-1)


def _leaks(
    frame: _Frames, text: Text
) -> tuple[Float[Array, "batch columns"], Float[Array, "batch columns"]]:
    """The probability of what cannot follow on each state: not a blank, its label or the next one.

    A sum that starts from the classes other than the two most likely labels, so that what is taken
    away from it is never most of it. Here ``others`` are the classes outside the text.
    """
    each = wide.to_float(frame.probabilities().label)
    rest, leaders = jnp.where(text.is_new, each, 0), []
    for _ in range(2):
        most = rest.max(-1, keepdims=True)
        leader = jnp.where(rest == most, text.labels, -1).max(-1, keepdims=True)
        leads = text.exists & (text.labels == leader)
        rest, each = jnp.where(leads, 0, rest), jnp.where(leads, 0, each)
        leaders.append((most, leads))
    others = frame.others / frame.total + rest.sum(-1, keepdims=True)
    label = others - each - jnp.where(text.labels == _next(text.labels, -1), 0, _next(each, 0))
    blank = others - _next(each, 0)
    for most, leads in leaders:
        label += jnp.where(leads | _next(leads, False), 0, most)
        blank += jnp.where(_next(leads, False), 0, most)
    return jax.nn.relu(label), jax.nn.relu(blank)


def _by_time(present: Bool[Array, "batch time"] | None) -> Bool[Array, "time batch 1"] | None:
    return None if present is None else jnp.moveaxis(present, 1, 0)[..., None]


def _top(logits: Float[Array, "batch time classes"]) -> Float[Array, "batch time 1"]:
    return jax.lax.stop_gradient(at_least_float32(logits.max(-1, keepdims=True)))


def _from_top(
    logits: Float[Array, "*shape some"], top: Float[Array, "*shape 1"]
) -> Float[Array, "*shape some"]:
    """Logits relative to the largest, and 0, and not NaN, between equal infinities."""
    logits = at_least_float32(logits)
    return jnp.where(jnp.isinf(top) & (logits == top), 0, logits - top)


def _previous(x: Array) -> Array:
    """What the column before has; the first has its own."""
    return jnp.concatenate([x[..., :1], x[..., :-1]], -1)


def _next(x: Array, beyond: bool | int | float) -> Array:
    """What the next column has."""
    return jnp.concatenate([x[..., 1:], jnp.full_like(x[..., :1], beyond)], -1)
