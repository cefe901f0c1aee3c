"""One pass over a data set: exact means, their standard errors, and every example by its id."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, PyTree

from jaxloss.core.doubled import Doubled
from jaxloss.evaluation.estimates import ratio_of_sums
from jaxloss.evaluation.exact import ExactMean, Summary, nothing
from jaxloss.evaluation.measuring import UNNAMED, Rows, measured_means, measured_rows, merged
from jaxloss.evaluation.tables import aligned, count_text, interval_text, number_text

IN_FLIGHT = 2
"""Batches that the host may be ahead of the device."""
SAME = 1e-2
"""Relative difference up to which two losses of one example are taken for the same."""


class PerExample(NamedTuple):
    """Every example of a data set, in the order of their ids, in double precision."""

    ids: np.ndarray
    totals: np.ndarray
    """of w * l"""
    weights: np.ndarray
    """of w"""
    groups: np.ndarray | None
    clusters: np.ndarray
    """the ids, unless clusters were given"""

    @property
    def losses(self) -> np.ndarray:
        """The mean of each example."""
        return self.totals / self.weights


class Evaluation(NamedTuple):
    """The mean of a loss over a data set, all of it, by group and by example."""

    overall: Summary
    groups: dict[Any, Summary]
    """by name or number; empty without groups"""
    examples: PerExample | None
    duplicates: int = 0
    """rows that were dropped, as their id had been seen before"""

    @property
    def mean(self) -> float:
        """The mean over all elements; NaN if there were none."""
        return self.overall.mean

    @property
    def standard_error(self) -> float:
        """Of the mean, over other examples of the same kind."""
        return self.overall.standard_error

    def worst_group(self) -> tuple[Any, Summary]:
        """The group with the largest mean, and its summary; a mean that is NaN is the largest."""
        present = {name: group for name, group in self.groups.items() if group.examples}
        if not present:
            raise ValueError("worst_group: groups must be given to evaluate, got none")

        def badness(name: Any) -> float:
            return math.inf if math.isnan(present[name].mean) else present[name].mean

        worst = max(present, key=badness)
        return worst, present[worst]

    def table(self, confidence: float = 0.95) -> str:
        """The means of all and of each group, with confidence intervals, as text."""
        rows = [("", "examples", "mean", f"{confidence:.0%} CI")]
        lines = {"all": self.overall, **self.groups}
        intervals = {name: summary.interval(confidence) for name, summary in lines.items()}
        widths = [high - low for low, high in intervals.values() if high > low]
        for name, summary in lines.items():
            mean = number_text(summary.mean, min(widths, default=0.0))
            count = count_text(summary.examples)
            rows.append((str(name), count, mean, interval_text(*intervals[name])))
        return aligned(rows)


def evaluate(
    measure: Callable[[PyTree, PyTree], Any],
    params: PyTree,
    batches: Iterable[PyTree],
    *,
    keep_examples: bool = True,
    group_names: Sequence[Any] | None = None,
) -> Evaluation:
    """Measure a model on batch after batch.

    The mean is the ratio of sums over the whole data set, in double precision, however uneven,
    padded or sharded the batches are; what is masked may be NaN. Its standard error takes the
    elements of an example, and the examples of a cluster, for dependent.

    Args:
        measure: ``(params, batch)`` to the unreduced losses of the examples, or to
            :class:`~jaxloss.evaluation.Examples`. It is compiled once per function and shape of a
            batch, so define it outside of any loop.
        params: whatever ``measure`` wants.
        batches: pytrees of arrays, sharded or not, also over processes, or of numpy arrays. Without
            ids the examples are numbered as they come, those without weight left out.
        keep_examples: whether to keep each example, as :func:`~jaxloss.evaluation.compare` needs
            it, and to drop one whose id has come before. Otherwise no more is kept than a few sums.
        group_names: of group 0, 1, ...; by default groups go by their number. Wanted if there are
            groups and ``keep_examples`` is false.

    Example:
        >>> from jaxloss.evaluation import Examples
        >>> def measure(scale, batch):
        ...     return Examples((scale * batch) ** 2, where=batch >= 0, groups=batch % 2)
        >>> result = evaluate(measure, 2, [jnp.array([1, 2, 3]), jnp.array([4, -1, -1])])
        >>> result.mean, result.overall.examples, result.worst_group()[0]
        (30.0, 4, 0)
    """
    run = _kept if keep_examples else _streamed
    return run(measure, True, params, batches, group_names)[UNNAMED]


def evaluate_each(
    measure: Callable[[PyTree, PyTree], Mapping[str, Any]],
    params: PyTree,
    batches: Iterable[PyTree],
    *,
    keep_examples: bool = True,
    group_names: Sequence[Any] | None = None,
) -> dict[str, Evaluation]:
    """Measure several things in one pass: the loss, the error rate, the loss of a rival.

    Args:
        measure: likewise, but to a dict, of what :func:`evaluate` takes for one.
        params, batches, keep_examples, group_names: see :func:`evaluate`.

    Example:
        >>> def measure(scale, batch):
        ...     return {"squared": (scale * batch) ** 2, "absolute": abs(scale * batch)}
        >>> both = evaluate_each(measure, 2.0, [jnp.array([1.0, -2.0])])
        >>> both["squared"].mean, both["absolute"].mean
        (10.0, 3.0)
    """
    run = _kept if keep_examples else _streamed
    return run(measure, False, params, batches, group_names)


def _kept(
    measure: Callable[..., Any],
    single: bool,
    params: PyTree,
    batches: Iterable[PyTree],
    group_names: Sequence[Any] | None,
) -> dict[str, Evaluation]:
    """Fetch every example, and do the rest on the host."""
    waiting: deque[dict[str, Rows]] = deque()
    fetched: dict[str, list[Rows]] = {}

    def fetch() -> None:
        for name, rows in waiting.popleft().items():
            fetched.setdefault(name, []).append(jax.tree.map(_on_host, rows))

    for batch in batches:
        waiting.append(measured_rows(measure, single, params, jax.device_put(batch)))
        if len(waiting) > IN_FLIGHT:
            fetch()
    while waiting:
        fetch()
    _require_batches(fetched)
    return {name: _of_rows(rows, group_names) for name, rows in fetched.items()}


def _streamed(
    measure: Callable[..., Any],
    single: bool,
    params: PyTree,
    batches: Iterable[PyTree],
    group_names: Sequence[Any] | None,
) -> dict[str, Evaluation]:
    """Keep sums only, on the device."""
    names = None if group_names is None else list(group_names)
    count = 0 if names is None else len(names)
    waiting: deque[Any] = deque()
    sums: Any = None
    for batch in batches:
        means = measured_means(measure, single, count, params, jax.device_put(batch))
        sums = means if sums is None else merged(sums, means)
        waiting.append(means)
        if len(waiting) > IN_FLIGHT:
            jax.block_until_ready(waiting.popleft())
    _require_batches(sums)
    return {name: _of_means(means[0], means[1], names) for name, means in sums.items()}


def _on_host(x: Array) -> np.ndarray:
    """All of an array, also of the parts that other processes hold."""
    if x.is_fully_addressable:
        return jax.device_get(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))


def _require_batches(fetched: Any) -> None:
    if not fetched:
        raise ValueError("evaluate: batches must not be empty, got none")


def _of_rows(batches: list[Rows], group_names: Sequence[Any] | None) -> Evaluation:
    """The evaluation of rows that have been fetched."""
    totals = np.concatenate([_double(rows.totals) for rows in batches])
    weights = np.concatenate([_double(rows.weights) for rows in batches])
    there = weights > 0
    totals, weights = totals[there], weights[there]
    ids = _joined([rows.ids for rows in batches], there)
    groups = _joined([rows.groups for rows in batches], there)
    clusters = _joined([rows.clusters for rows in batches], there)

    drawn = len(totals)
    ids = np.arange(drawn) if ids is None else ids
    ids, first, again = np.unique(ids, return_index=True, return_inverse=True)
    if len(ids) < drawn:
        _require_same(ids[again], totals / weights, (totals / weights)[first][again])
    examples = PerExample(
        ids=ids,
        totals=totals[first],
        weights=weights[first],
        groups=None if groups is None else groups[first],
        clusters=ids if clusters is None else clusters[first],
    )
    return Evaluation(
        overall=_summary(examples, np.ones(len(ids), bool)),
        groups=_group_summaries(examples, group_names),
        examples=examples,
        duplicates=drawn - len(ids),
    )


def _of_means(
    overall: ExactMean, groups: ExactMean | None, group_names: list[Any] | None
) -> Evaluation:
    """The evaluation of sums over all batches."""
    summary, by_group = overall.summary(), {}
    if groups is not None and group_names is not None:
        groups = jax.device_get(groups)
        by_group = {
            name: jax.tree.map(lambda x, k=k: x[k], groups).summary()
            for k, name in enumerate(group_names)
        }
        counted = sum(group.examples for group in by_group.values())
        _require_groups(summary.examples - counted, len(by_group))
    return Evaluation(summary, by_group, None)


def _group_summaries(examples: PerExample, names: Sequence[Any] | None) -> dict[Any, Summary]:
    if examples.groups is None:
        return {}
    if names is None:
        numbers = {int(number): int(number) for number in np.unique(examples.groups)}
    else:
        numbers = dict(zip(names, range(len(names)), strict=True))
        outside = (examples.groups < 0) | (examples.groups >= len(names))
        _require_groups(int(outside.sum()), len(names))
    return {name: _summary(examples, examples.groups == k) for name, k in numbers.items()}


def _summary(examples: PerExample, chosen: np.ndarray) -> Summary:
    """The mean over the chosen examples."""
    totals, weights = examples.totals[chosen], examples.weights[chosen]
    if not len(totals):
        return nothing()
    _, cluster = np.unique(examples.clusters[chosen], return_inverse=True)
    ratio = ratio_of_sums(np.bincount(cluster, totals), np.bincount(cluster, weights))
    count = int(cluster.max()) + 1
    weight = float(weights.sum())
    return Summary(ratio.value, ratio.error, len(totals), count, ratio.effective, weight)


def _joined(parts: list[Any], there: np.ndarray) -> np.ndarray | None:
    given = [np.asarray(part) for part in parts if part is not None]
    return np.concatenate(given)[there].astype(np.int64) if given else None


def _double(x: Doubled) -> np.ndarray:
    return np.asarray(x.high, np.float64) + np.asarray(x.low, np.float64)


def _require_same(ids: np.ndarray, losses: np.ndarray, first: np.ndarray) -> None:
    """Raise ``ValueError`` if one id stands for two different examples."""
    scale = np.abs(losses[np.isfinite(losses)]).mean() if np.isfinite(losses).any() else 0.0
    same = np.isclose(losses, first, rtol=SAME, atol=SAME * scale, equal_nan=True)
    if not same.all():
        k = int(np.argmin(same))
        raise ValueError(
            f"evaluate: ids must tell examples apart, got {ids[k]} for one with loss "
            f"{first[k]:.4g} and for one with loss {losses[k]:.4g}"
        )


def _require_groups(outside: int, count: int) -> None:
    if outside:
        raise ValueError(
            f"evaluate: groups must lie in [0, {count}), got {outside} examples in others"
        )
