"""The harness runs, reports, and refuses to compare different work. No time is asserted."""

import json

import jax
import numpy as np
import pytest

from benchmarks import rows, timing
from benchmarks.__main__ import main


def contest(**answers):
    """A contest whose contestants do nothing and give these answers."""

    def contestant(answer):
        return timing.Contestant(lambda: None, lambda: [np.asarray(answer, np.float32)])

    return timing.Contest(
        name="nothing",
        measure="value",
        tolerance=1e-4,
        contestants={name: contestant(answer) for name, answer in answers.items()},
        floor=lambda: None,
        floor_work="nothing",
    )


def test_a_quick_run_prints_a_table_and_writes_json(tmp_path, capsys):
    file = tmp_path / "results.json"
    with jax.numpy_dtype_promotion("standard"):  # optax.adam promotes its step count
        main(
            ["huber 1000000", "fused", "tiny", "--quick", "--against", "optax", "--json", str(file)]
        )
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert [line[0] for line in lines if line[0] in ("jaxloss", "optax")] == [
        *(["jaxloss", "optax"] * 4)
    ]

    results = json.loads(file.read_text())
    assert {"date", "machine", "versions", "missing"} < set(results)
    assert [(found["name"], found["measure"]) for found in results["contests"]] == [
        ("huber 64 float32", "value"),
        ("huber 64 float32", "value and gradient"),
        ("fused cross-entropy 64x64x64", "value and gradient"),
        ("train step, tiny", "step"),
    ]
    for found in results["contests"]:
        assert found["floor"]["median_seconds"] > 0
        assert found["contestants"]["jaxloss"]["ours_over_it"] == 1
        for contestant in found["contestants"].values():
            assert contestant["median_seconds"] > 0
            assert contestant["it_over_floor"] > 0
            assert contestant["compile_seconds"] > 0
            assert contestant["temporary_bytes"] >= 0


@pytest.fixture(scope="module")
def libraries():
    return rows.available(["jaxloss", "optax", "keras", "torch"])[0]


@pytest.mark.parametrize("name", dict.fromkeys(row.loss for row in rows.ROWS))
def test_all_libraries_mean_the_same_loss(name, libraries):
    row = next(row for row in rows.ROWS if row.loss == name).small()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        timing.require_equal(next(rows.contests(row, libraries)))


def test_every_loss_of_a_library_has_a_row(libraries):
    measured = {row.loss for row in rows.ROWS}
    assert all(measured >= set(found) for found in libraries.values())
    assert set(libraries["jaxloss"]) == measured


def test_losses_over_alignments_are_compared_with_their_naive_forms(capsys):
    main(["crf", "soft_dtw 16", "--quick", "--against", "naive"])
    words = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert words.count("naive") == 4  # the answers agreed, too


def test_an_unknown_name_lists_the_rows():
    with pytest.raises(SystemExit, match="huber 8000000 float32"):
        main(["hubert", "--against", "optax"])


@pytest.mark.parametrize("answer", [[1.0, 2.001], [np.nan, 2.0]])
def test_another_answer_is_refused(answer):
    with pytest.raises(ValueError, match="nothing, value: optax gives another answer than jaxloss"):
        timing.require_equal(contest(jaxloss=[1.0, 2.0], optax=answer))


def test_answers_may_differ_by_rounding():
    timing.require_equal(contest(jaxloss=[1.0, 2.0], optax=[1.0, 2.0001]))


def test_rounds_interleave_and_ratios_pair_them():
    calls = []
    runs = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    samples = timing.interleaved(runs, seconds=0.0, least_rounds=4, seed=0)
    assert {name: len(times) for name, times in samples.items()} == {"a": 4, "b": 4, "c": 4}
    order = [name for i, name in enumerate(calls) if i == 0 or calls[i - 1] != name]
    assert len(order) > 3 * 3, "the contestants ran one after the other, not in turns"

    seconds = {"jaxloss": np.array([1.0, 2.0, 9.0]), "optax": np.array([2.0, 4.0, 3.0])}
    assert timing.Outcome(contest(), seconds).ratio("jaxloss", "optax") == 0.5


def test_a_missing_library_is_left_out_but_not_a_missing_part_of_ours(monkeypatch):
    def failing(module):
        def losses():
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)

        return rows.LIBRARIES["optax"]._replace(losses=losses)

    monkeypatch.setitem(rows.LIBRARIES, "optax", failing("optax"))
    found, missing = rows.available(["jaxloss", "optax"])
    assert set(found) == {"jaxloss"}
    assert missing == {"optax": "No module named 'optax'"}
    monkeypatch.setitem(rows.LIBRARIES, "jaxloss", failing("jaxloss.losses.region"))
    with pytest.raises(ModuleNotFoundError, match=r"jaxloss\.losses\.region"):
        rows.available(["jaxloss"])


def test_an_outcome_holds_none_of_the_arrays_of_its_contest():
    row = next(row for row in rows.ROWS if row.loss == "squared").small()
    contest = next(rows.contests(row, rows.available(["jaxloss"])[0]))
    kept = timing.run(contest, seconds=0.0, least_rounds=1).contest
    assert list(kept.contestants) == list(contest.contestants)
    assert not kept.contestants["jaxloss"].answer()
    assert contest.contestants["jaxloss"].answer()
