"""Cross-entropies over classes found in two steps in float64 NumPy."""

import numpy as np

from jaxloss import hierarchical
from tests.oracles import Row


def log_softmax(z):
    return z - np.log(np.exp(z).sum())


def adaptive_softmax(logits, labels, cutoffs=()):
    ends = [*cutoffs, logits.shape[-1] - len(cutoffs)]
    losses = []
    for z, y in zip(logits, labels, strict=True):
        head, start = log_softmax(z[: ends[0] + len(cutoffs)]), ends[0] + len(cutoffs)
        logs = list(head[: ends[0]])
        for k, size in enumerate(np.diff(ends)):
            logs += list(head[ends[0] + k] + log_softmax(z[start : start + size]))
            start += size
        losses.append(-logs[y])
    return np.array(losses)


def many_classes():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20, 13)).astype(np.float32)
    return logits, generator.integers(0, 10, 20).astype(np.int32)


ROWS = [
    Row(hierarchical.adaptive_softmax, adaptive_softmax),
    Row(hierarchical.adaptive_softmax, adaptive_softmax, {"cutoffs": (2, 3, 6)}, many_classes),
]
