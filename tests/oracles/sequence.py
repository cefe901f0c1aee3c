"""Independent truth for :mod:`jaxloss.losses.sequence`: every alignment, one by one."""

import itertools

import numpy as np

from jaxloss.losses import sequence
from tests.oracles import Row


def softmax(logits):
    scaled = np.exp(logits - logits.max(-1, keepdims=True))
    return scaled / scaled.sum(-1, keepdims=True)


def ctc(logits, labels, blank=0, label_where=None, impossible="infinite"):
    exists = np.ones(labels.shape, bool) if label_where is None else label_where
    losses = np.zeros(len(logits))
    for example, p in enumerate(softmax(logits)):
        text, chance = list(labels[example][exists[example]]), 0.0
        for path in itertools.product(range(p.shape[1]), repeat=len(p)):
            if [c for c, _ in itertools.groupby(path) if c != blank] == text:
                chance += np.prod([p[t, c] for t, c in enumerate(path)])
        losses[example] = -np.log(chance) if chance else np.inf
    return np.where(np.isinf(losses), 0, losses) if impossible == "ignored" else losses


def transducer(logits, labels, blank=0, label_where=None, impossible="infinite"):
    exists = np.ones(labels.shape, bool) if label_where is None else label_where
    losses = np.zeros(len(logits))
    for example, p in enumerate(softmax(logits)):
        text, chance = labels[example][exists[example]], 0.0
        for frames in itertools.combinations_with_replacement(range(len(p)), len(text)):
            path = 1.0
            for u, t in enumerate(frames):
                path *= p[t, u, text[u]]
            for t in range(len(p)):
                path *= p[t, sum(frame <= t for frame in frames), blank]
            chance += path
        losses[example] = -np.log(chance) if chance else np.inf
    return np.where(np.isinf(losses), 0, losses) if impossible == "ignored" else losses


def additive_transducer(frame_logits, text_logits, labels, **options):
    return transducer(frame_logits[:, :, None] + text_logits[:, None], labels, **options)


SOME = np.arange(3) < np.array([3, 2, 0, 3, 1, 2, 3, 3])[:, None]


def with_another_blank():
    """Texts of which one is too long for its frames."""
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((4, 4, 3), np.float32)
    return logits, np.array([[0, 1, 0], [0, 0, 1], [1, 1, 1], [1, 0, 1]])


def in_two_parts():
    """One example rules out its label."""
    generator = np.random.default_rng(2)
    frames, positions = (generator.standard_normal((4, 4, 3), np.float32) for _ in range(2))
    frames[1, :, 1] = -np.inf
    return frames, positions, np.array([[0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]])


def with_a_label_ruled_out():
    """In every cell of one example, so that its text is impossible."""
    generator = np.random.default_rng(1)
    logits = generator.standard_normal((4, 4, 4, 3), np.float32)
    logits[1, ..., 1] = -np.inf
    return logits, np.array([[0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]])


ROWS = [
    Row(sequence.ctc, ctc),
    Row(sequence.ctc, ctc, {"label_where": SOME}),
    Row(sequence.ctc, ctc, {"blank": 2, "impossible": "ignored"}, with_another_blank),
    Row(sequence.transducer, transducer),
    Row(sequence.transducer, transducer, {"label_where": SOME}),
    Row(
        sequence.transducer,
        transducer,
        {"blank": 2, "impossible": "ignored"},
        with_a_label_ruled_out,
    ),
    Row(sequence.additive_transducer, additive_transducer, {"label_where": SOME}),
    Row(
        sequence.additive_transducer,
        additive_transducer,
        {"blank": 2, "impossible": "ignored"},
        in_two_parts,
    ),
]
