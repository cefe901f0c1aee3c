"""Which model is better, and what exactly that means."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxloss.evaluation.estimates import Estimate, estimate, holm
from jaxloss.evaluation.evaluating import Evaluation, PerExample
from jaxloss.evaluation.tables import aligned, count_text, interval_text, number_text

CHECKPOINTS = "these checkpoints"
"""What a comparison of one run of each model can tell about."""
METHODS = "these methods, over seeds"
"""What a comparison of several runs of each can."""


class Compared(NamedTuple):
    """A model, and how it differs from the baseline."""

    loss: Estimate
    difference: Estimate | None
    """its loss minus that of the baseline; None for the baseline itself"""
    p_value: float
    """of there being no difference, corrected for how many models are compared"""
    verdict: str
    """``"better"``, ``"worse"``, ``"equivalent"`` or ``"undecided"``; for the baseline ``""``"""


class Comparison(NamedTuple):
    """Several models against a baseline, on the same examples."""

    models: dict[str, Compared]
    """by name, the baseline first"""
    baseline: str
    question: str
    """what the verdicts are about: these checkpoints, or these methods, over seeds"""
    examples: int
    clusters: int
    runs: int
    """of each model"""
    confidence: float
    negligible: float
    """the largest difference that does not matter"""

    def table(self) -> str:
        """What came out, as text to be read as it is."""
        level = f"{self.confidence:.0%} CI"
        rows = [
            [
                "model",
                "loss",
                level,
                f"Δ vs {self.baseline}",
                f"{level} of Δ",
                "p (Holm)",
                "verdict",
            ]
        ]
        for name, (loss, difference, p_value, verdict) in self.models.items():
            row = [name, *_texts(loss, "")]
            if difference is None:
                rows.append([*row, "-", "-", "-", ""])
            else:
                rows.append([*row, *_texts(difference, "+"), _p_text(p_value), verdict])
        seeds = "" if self.runs == 1 else f", {self.runs} seeds each"
        about = f"{count_text(self.examples)} examples"
        if self.clusters != self.examples:
            about += f" in {count_text(self.clusters)} clusters"
        title = f"{about}{seeds}; lower is better; about {self.question}"
        return title + "\n" + aligned(rows, left=(0, 6))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, ready for JSON."""
        models = {
            name: {
                **model._asdict(),
                "loss": model.loss._asdict(),
                "difference": model.difference and model.difference._asdict(),
            }
            for name, model in self.models.items()
        }
        return {**self._asdict(), "models": models}


def compare(
    evaluations: Mapping[str, Evaluation | Sequence[Evaluation]],
    *,
    baseline: str | None = None,
    confidence: float = 0.95,
    negligible: float = 0.0,
    seed: int = 0,
) -> Comparison:
    r"""Compare models by the losses that each has on the same examples.

    Each difference is taken example by example, which removes what all models find equally hard.
    Its interval is that of a ratio of sums over clusters, and covers what other examples, of the
    same kind, might have shown. The p-values are corrected for the number of models, by Holm.

    One evaluation per model answers whether *this checkpoint* is better than that one. Whether a
    *method* is better than another takes several runs of each, from different seeds: a second run
    of one and the same method may well be significantly better than the first.

    Args:
        evaluations: by name; of one run of each model, or of as many runs of each. The k-th runs
            of all models are compared with each other, and may share a seed.
        baseline: what all others are compared with; the first by default.
        confidence: of the intervals; a p-value below ``1 - confidence`` is a difference.
        negligible: the largest difference that does not matter. A model whose whole interval
            lies within it is ``"equivalent"``.
        seed: of the bootstrap that the intervals of skewed losses come from.

    Example:
        >>> from jaxloss.evaluation import evaluate
        >>> x = jnp.linspace(0.0, 1.0, 50)
        >>> models = {"zero": 0.0, "half": 0.5}
        >>> def measure(guess, x):
        ...     return (guess - x) ** 2
        >>> results = {name: evaluate(measure, guess, [x]) for name, guess in models.items()}
        >>> print(compare(results).table())
        50 examples; lower is better; about these checkpoints
        model   loss          95% CI  Δ vs zero       95% CI of Δ  p (Holm)  verdict
        zero   0.337  [0.249, 0.424]          -                 -         -
        half   0.087  [0.064, 0.109]     -0.250  [-0.335, -0.165]    <0.001  better

    Reference:
        Dror et al., "The Hitchhiker's Guide to Testing Statistical Significance in Natural
        Language Processing", 2018.
    """
    runs = {
        name: [given] if isinstance(given, Evaluation) else list(given)
        for name, given in evaluations.items()
    }
    baseline = next(iter(runs), "") if baseline is None else baseline
    _require_models(runs, baseline)
    examples = {
        name: [_examples(name, evaluation) for evaluation in of_model]
        for name, of_model in runs.items()
    }
    reference = examples[baseline][0]
    for name, of_model in examples.items():
        for each in of_model:
            _require_paired(name, each, baseline, reference)

    _, cluster = np.unique(reference.clusters, return_inverse=True)
    weights = np.bincount(cluster, reference.weights)
    totals = {
        name: np.stack([np.bincount(cluster, each.totals) for each in of_model])
        for name, of_model in examples.items()
    }
    others = [name for name in runs if name != baseline]
    differences = {
        name: estimate(totals[name] - totals[baseline], weights, confidence, seed)
        for name in others
    }
    corrected = holm([differences[name].p_value for name in others])
    p_values = dict(zip(others, corrected, strict=True))

    def compared(name: str) -> Compared:
        loss = estimate(totals[name], weights, confidence, seed)
        if name == baseline:
            return Compared(loss, None, math.nan, "")
        verdict = _verdict(differences[name], p_values[name], confidence, negligible)
        return Compared(loss, differences[name], p_values[name], verdict)

    count = len(runs[baseline])
    return Comparison(
        models={name: compared(name) for name in [baseline, *others]},
        baseline=baseline,
        question=CHECKPOINTS if count == 1 else METHODS,
        examples=len(reference.ids),
        clusters=len(weights),
        runs=count,
        confidence=confidence,
        negligible=negligible,
    )


def _verdict(difference: Estimate, p_value: float, confidence: float, negligible: float) -> str:
    if -negligible <= difference.low and difference.high <= negligible:
        return "equivalent"
    if p_value <= 1 - confidence:
        return "better" if difference.value < 0 else "worse"
    return "undecided"


def _texts(found: Estimate, sign: str) -> list[str]:
    value = number_text(found.value, 2 * found.reach, sign)
    return [value, interval_text(found.low, found.high, sign)]


def _p_text(p_value: float) -> str:
    if math.isnan(p_value):
        return "-"
    return f"{p_value:.2g}" if p_value >= 1e-3 else "<0.001"


def _examples(name: str, evaluation: Evaluation) -> PerExample:
    if evaluation.examples is None:
        raise ValueError(f"compare: evaluations must keep their examples, got {name!r} without")
    return evaluation.examples


def _require_models(runs: dict[str, list[Evaluation]], baseline: str) -> None:
    if len(runs) < 2:
        raise ValueError(f"compare: evaluations must be of two models or more, got {list(runs)}")
    if baseline not in runs:
        raise ValueError(f"compare: baseline must be one of {list(runs)}, got {baseline!r}")
    counts = {name: len(of_model) for name, of_model in runs.items()}
    if len(set(counts.values())) > 1 or not counts[baseline]:
        raise ValueError(f"compare: every model must have as many runs, got {counts}")


def _require_paired(name: str, ours: PerExample, baseline: str, theirs: PerExample) -> None:
    """Raise ``ValueError`` unless both are about the same examples, weighed the same."""
    missing, extra = np.setdiff1d(theirs.ids, ours.ids), np.setdiff1d(ours.ids, theirs.ids)
    if len(missing) or len(extra):
        raise ValueError(
            f"compare: {name!r} must have the ids of {baseline!r}, got {len(missing)} fewer "
            f"{_some(missing)} and {len(extra)} more {_some(extra)}"
        )
    same = np.isclose(ours.weights, theirs.weights, rtol=1e-5)
    if not same.all():
        k = int(np.argmin(same))
        raise ValueError(
            f"compare: {name!r} must weigh the examples as {baseline!r} does, got "
            f"{ours.weights[k]:.6g} and {theirs.weights[k]:.6g} for id {ours.ids[k]}"
        )
    if (ours.clusters != theirs.clusters).any():
        k = int(np.argmax(ours.clusters != theirs.clusters))
        raise ValueError(
            f"compare: {name!r} must have the clusters of {baseline!r}, got "
            f"{ours.clusters[k]} and {theirs.clusters[k]} for id {ours.ids[k]}"
        )


def _some(ids: np.ndarray) -> str:
    listed = ", ".join(str(number) for number in ids[:3])
    return f"({listed}{', ...' if len(ids) > 3 else ''})"
