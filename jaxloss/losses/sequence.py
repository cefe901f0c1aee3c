"""Losses between the frames of a signal and a text, whose timing is summed over.

Texts of different lengths share an array by a second mask, ``label_where``. Lengths become masks by
``jnp.arange(size) < lengths[:, None]``.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from jaxloss.core.checks import require_floating, require_integer, require_option, require_rank
from jaxloss.core.compiling import compiled
from jaxloss.core.ctc import Text, ctc_nll
from jaxloss.core.ctc import ctc_forward as log_forward
from jaxloss.core.inputs import masked, selection
from jaxloss.core.preconditions import check
from jaxloss.core.reducing import Reduction, broadcast_where, reduce
from jaxloss.core.transducer import Text as TransducerText
from jaxloss.core.transducer import additive_nll, transducer_nll

Impossible = Literal["infinite", "ignored"]


@compiled("impossible", "reduction")
def ctc(
    logits: Float[ArrayLike, "batch time classes"],
    labels: Int[ArrayLike, "batch labels"],
    *,
    blank: int | Int[Array, ""] = 0,
    label_where: Bool[ArrayLike, "#batch #labels"] | None = None,
    impossible: Impossible = "infinite",
    where: Bool[ArrayLike, "#batch #time"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of a text, read frame by frame, each label once or for a while.

    .. math::
        \ell = -\log \sum_{\pi \to y} \prod_t p_t(\pi_t), \qquad p_t = \operatorname{softmax}(z_t)

    The sum is over all sequences of one class per frame that become the text when repetitions are
    merged, and then blanks left out. Connectionist temporal classification: frames are independent
    given the input, and the alignment is monotone. Other libraries divide by the length of the
    text: ``weights=1 / lengths, reduction="sum"``. The unreduced shape is ``batch``.

    Args:
        labels: never the blank; as a class out of range that gives NaN.
        blank: the class that stands for no label.
        label_where: which labels exist; the others may hold any integer.
        impossible: what a text costs that the frames cannot give, often as they are too few:
            ``"infinite"``, or ``"ignored"``, as if it did not exist. Its gradient is 0.
        where: which frames exist; an example without any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole examples.

    Example:
        Of two frames that each say 0, the blank, or 1, three pairs of four mean the text 1:

        >>> ctc(jnp.zeros((1, 2, 2)), jnp.array([[1]]))
        Array(0.28768206, dtype=float32)

    Reference:
        Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data
        with Recurrent Neural Networks", 2006.
    """
    name = "ctc"
    require_option(name, "impossible", impossible, ("infinite", "ignored"))
    logits, text, present, poison = _given(name, logits, labels, blank, label_where, where)
    loss = ctc_nll(logits, text, present) * poison
    return _reduced(name, loss, impossible, present, weights, reduction)


def ctc_forward(
    logits: Float[ArrayLike, "batch time classes"],
    labels: Int[ArrayLike, "batch labels"],
    *,
    blank: int | Int[Array, ""] = 0,
    label_where: Bool[ArrayLike, "#batch #labels"] | None = None,
    where: Bool[ArrayLike, "#batch #time"] | None = None,
) -> Float[Array, "batch time states"]:
    r"""Log-probabilities of what :func:`ctc` has read by each frame: its forward variables.

    State :math:`2u` is to have read :math:`u` labels, and now a blank; :math:`2u - 1`, that the
    last of them is read in this frame. A frame that does not exist changes nothing.

    Example:
        >>> jnp.exp(ctc_forward(jnp.zeros((1, 2, 2)), jnp.array([[1]])))
        Array([[[0.5 , 0.5 , 0.  ],
                [0.25, 0.5 , 0.25]]], dtype=float32)
    """
    name = "ctc_forward"
    logits, text, present, poison = _given(name, logits, labels, blank, label_where, where)
    label, blanks = log_forward(logits, text, present)
    states = jnp.stack([label, blanks], -1).reshape(*label.shape[:2], -1)[..., 1:]
    return states * poison[:, None, None]


@compiled("impossible", "reduction")
def transducer(
    logits: Float[ArrayLike, "batch time positions classes"],
    labels: Int[ArrayLike, "batch labels"],
    *,
    blank: int | Int[Array, ""] = 0,
    label_where: Bool[ArrayLike, "#batch #labels"] | None = None,
    impossible: Impossible = "infinite",
    where: Bool[ArrayLike, "#batch #time"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-probability of a text, read by choosing the next label or the next frame.

    .. math::
        \ell = -\log \sum_{t_1 \le \dots \le t_U} \prod_u p_{t_u, u - 1}(y_u)
        \prod_t p_{t, u(t)}(\text{blank}), \qquad p_{t, u} = \operatorname{softmax}(z_{t, u})

    A recurrent neural network transducer, RNN-T. Label :math:`u` is read in frame :math:`t_u`, and
    a blank ends frame :math:`t` after the :math:`u(t)` labels that are read by then. Unlike in
    :func:`ctc` a frame may give many labels, and what is next depends on those before. Nothing as
    large as the logits is stored but their gradient. The unreduced shape is ``batch``.

    Args:
        logits: at each frame, after none, one, ... and all labels: one position more than labels.
        labels: never the blank; as a class out of range that gives NaN.
        blank: the class that ends a frame.
        label_where: which labels exist, those that do first; the others may hold any integer, and
            the logits after them anything.
        impossible: what a text costs that has probability 0: ``"infinite"``, or ``"ignored"``, as
            if it did not exist. Its gradient is 0.
        where: which frames exist; an example without any does not count.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole examples.

    Example:
        The label 1 in the first of two frames or in the second; each of three choices is one of
        two:

        >>> transducer(jnp.zeros((1, 2, 2, 2)), jnp.array([[1]]))
        Array(1.3862944, dtype=float32)

    Reference:
        Graves, "Sequence Transduction with Recurrent Neural Networks", 2012.
    """
    name = "transducer"
    require_option(name, "impossible", impossible, ("infinite", "ignored"))
    logits = jnp.asarray(logits)
    require_floating(name, logits=logits)
    wanted = "of shape (batch, time, labels + 1, classes)"
    require_rank(name, 4, wanted=wanted, exact=True, logits=logits)
    text, poison = _following(name, labels, blank, label_where, logits.shape)
    present = selection(name, where, logits.shape[:2])
    loss = transducer_nll(logits, text, present) * poison
    return _reduced(name, loss, impossible, present, weights, reduction)


@compiled("impossible", "reduction")
def additive_transducer(
    frame_logits: Float[ArrayLike, "batch time classes"],
    text_logits: Float[ArrayLike, "batch positions classes"],
    labels: Int[ArrayLike, "batch labels"],
    *,
    blank: int | Int[Array, ""] = 0,
    label_where: Bool[ArrayLike, "#batch #labels"] | None = None,
    impossible: Impossible = "infinite",
    where: Bool[ArrayLike, "#batch #time"] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Loss of a transducer whose logits are sums of those of the frames and those of the text.

    .. math::
        z_{t, u} = f_t + g_u

    in :func:`transducer`, as in the original. The sums exist for one frame at a time: no array of
    time by labels by classes is stored. The unreduced shape is ``batch``.

    Args:
        text_logits: after none, one, ... and all labels: one position more than labels.
        labels, blank, label_where, impossible, where: as in :func:`transducer`.
        weights, reduction: see :func:`jaxloss.core.reducing.reduce`; they act on whole examples.

    Example:
        >>> additive_transducer(jnp.zeros((1, 2, 2)), jnp.zeros((1, 2, 2)), jnp.array([[1]]))
        Array(1.3862944, dtype=float32)

    Reference:
        Graves, "Sequence Transduction with Recurrent Neural Networks", 2012.
    """
    name = "additive_transducer"
    require_option(name, "impossible", impossible, ("infinite", "ignored"))
    frames, positions = jnp.asarray(frame_logits), jnp.asarray(text_logits)
    require_floating(name, frame_logits=frames, text_logits=positions)
    wanted = "of shape (batch, time, classes)"
    require_rank(name, 3, wanted=wanted, exact=True, frame_logits=frames)
    wanted = f"of shape ({frames.shape[0]}, labels + 1, {frames.shape[2]})"
    require_rank(name, 3, wanted=wanted, exact=True, text_logits=positions)
    if positions.shape[::2] != frames.shape[::2]:
        raise ValueError(f"{name}: text_logits must be {wanted}, got shape {positions.shape}")
    shape = (*frames.shape[:2], *positions.shape[1:])
    text, poison = _following(name, labels, blank, label_where, shape)
    present = selection(name, where, frames.shape[:2])
    loss = additive_nll(frames, positions, text, present) * poison
    return _reduced(name, loss, impossible, present, weights, reduction)


def _following(
    name: str,
    labels: Int[ArrayLike, "batch labels"],
    blank: int | Int[Array, ""],
    label_where: Bool[ArrayLike, "#batch #labels"] | None,
    shape: tuple[int, ...],
) -> tuple[TransducerText, Float[Array, " batch"]]:
    """Check the text for logits of ``shape``; last a factor, NaN for one that is invalid."""
    labels, blank = jnp.asarray(labels), jnp.asarray(blank)
    require_integer(name, labels=labels, blank=blank)
    batch, _, positions, classes = shape
    if labels.shape != (batch, positions - 1):
        wanted = f"of shape {(batch, positions - 1)}, one fewer than positions of the logits"
        raise ValueError(f"{name}: labels must be {wanted}, got shape {labels.shape}")
    exists, ordered = jnp.ones(labels.shape, bool), jnp.ones(labels.shape[:1], bool)
    if label_where is not None:
        exists = broadcast_where(name, label_where, labels.shape, "label_where")
        ordered = (exists[:, 1:] <= exists[:, :-1]).all(-1)
        must = f"{name}: label_where must be true first, then false"
        exists = check(exists, ordered[:, None], must)
    valid, blank, poison = _valid(name, labels, exists, blank, classes)
    following = jnp.pad(valid, ((0, 0), (0, 1)), constant_values=-1)
    return TransducerText(following, blank), jnp.where(ordered, poison, jnp.nan)


def _reduced(
    name: str,
    loss: Float[Array, " batch"],
    impossible: Impossible,
    present: Bool[Array, "batch time"] | None,
    weights: Real[ArrayLike, "..."] | None,
    reduction: Reduction,
) -> Float[Array, "..."]:
    """Over the examples with a frame, and if wanted only those that are possible."""
    exists = None if present is None else present.any(1)
    if impossible == "ignored":
        exists = ~jnp.isinf(loss) & (True if exists is None else exists)
    return reduce(name, loss, exists, weights, reduction)


def _given(
    name: str,
    logits: Float[ArrayLike, "batch time classes"],
    labels: Int[ArrayLike, "batch labels"],
    blank: int | Int[Array, ""],
    label_where: Bool[ArrayLike, "#batch #labels"] | None,
    where: Bool[ArrayLike, "#batch #time"] | None,
) -> tuple[Float[Array, "batch time classes"], Text, Bool[Array, "batch time"] | None, Array]:
    """Check and clean; last a factor for the loss, NaN where a label or the blank is invalid."""
    logits, labels, blank = jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(blank)
    require_floating(name, logits=logits)
    require_integer(name, labels=labels, blank=blank)
    wanted = "of shape (batch, time, classes)"
    require_rank(name, 3, wanted=wanted, exact=True, logits=logits)
    if labels.ndim != 2 or labels.shape[0] != logits.shape[0]:
        wanted = f"of shape ({logits.shape[0]}, labels)"
        raise ValueError(f"{name}: labels must be {wanted}, got shape {labels.shape}")
    present = selection(name, where, logits.shape[:2])
    exists = jnp.ones(labels.shape, bool)
    if label_where is not None:
        exists = broadcast_where(name, label_where, labels.shape, "label_where")
        first = jnp.argsort(~exists, axis=-1, stable=True)
        labels, exists = (jnp.take_along_axis(x, first, -1) for x in (labels, exists))
    valid, blank, poison = _valid(name, labels, exists, blank, logits.shape[-1])
    text = Text(jnp.pad(valid, ((0, 0), (1, 0)), constant_values=-1), blank)
    return masked(logits, present), text, present, poison


def _valid(
    name: str,
    labels: Int[Array, "batch labels"],
    exists: Bool[Array, "batch labels"],
    blank: Int[Array, ""],
    classes: int,
) -> tuple[Int[Array, "batch labels"], Int[Array, ""], Float[Array, " batch"]]:
    """Labels in range, -1 for none; the blank; 1 for each text, NaN if something is invalid."""
    valid = ~exists | ((labels >= 0) & (labels < classes) & (labels != blank))
    labels = check(labels, valid, f"{name}: labels must lie in [0, {classes}) and not be blank")
    within = (blank >= 0) & (blank < classes)
    blank = check(blank, within, f"{name}: blank must lie in [0, {classes})")
    poison = jnp.where(valid.all(-1) & within, 1.0, jnp.nan)
    labels = jnp.where(exists, labels.clip(0, classes - 1), -1).astype(jnp.int32)
    return labels, blank.astype(jnp.int32), poison
