"""What a report says to its five questions."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from scipy import stats

from lightning_mtl.report.page import Finding, findings
from lightning_mtl.report.page._relations import wilson
from tests.report.records import NAMES, comparison, records, run

GAIN, TOGETHER, SMALL, FORGOTTEN, CAPACITY = range(5)


def answer(number: int, record: dict[str, Any] | None = None, judged: dict[str, Any] | None = None) -> Finding:
    return findings({"run": record or {}}, judged)[number]


def bounds(mean: float, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"mean": mean, "low": low, "high": high}


def judged(*verdicts: str, **options: Any) -> dict[str, Any]:
    """A comparison of tasks a, b, ... with these verdicts."""
    of = {"gains": [0.1, 0.05, 0.15], "loses": [-0.1, -0.15, -0.05], "no evidence": [0.0, -0.05, 0.05]}
    tasks = [
        {
            "task": "abc"[i],
            "metric": "accuracy",
            "sign": 1,
            "single": [0.5, 0.6],
            "multi": [0.6, 0.7],
            "two_stage": None,
        }
        | {"difference": bounds(*of[verdict]), "verdict": verdict}
        for i, verdict in enumerate(verdicts)
    ]
    return {
        "seeds": [0, 1],
        "arms": ["single-task", "multi-task"],
        "tasks": tasks,
        "delta_m": bounds(1.0, 0.5, 1.5),
        **options,
    }


# Theorems


@pytest.mark.parametrize(("rate", "count"), [(0.0, 10), (0.5, 20), (0.7, 200), (1.0, 3)])
def test_shares_have_the_intervals_of_wilson(rate: float, count: int) -> None:
    exact = stats.binomtest(round(rate * count), count).proportion_ci(0.95, "wilson")
    assert wilson(round(rate * count) / count, count) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize("key", ["tasks", "series", "monitors", "levels", "draws", "stages"])
@pytest.mark.parametrize("instead", [None, "left out"])
def test_any_part_may_be_missing(key: str, instead: str | None) -> None:
    whole = run(0.7, 0)
    part = {name: value for name, value in whole.items() if name != key} | ({key: None} if instead is None else {})
    assert len(findings({"run": part}, comparison())) == 5


@pytest.mark.parametrize("kind", ["ForgettingMonitor", "TransferMonitor", "ConflictMonitor", "GapMonitor"])
def test_a_monitor_may_know_nothing_but_its_tasks(kind: str) -> None:
    found = findings({"run": {"monitors": {kind: {"tasks": NAMES}}}})
    assert all(finding.tone in ("open", "missing") for finding in found)
    said = [
        finding.answer
        for finding in found
        if not finding.answer.startswith("Not measured: add") and "compare" not in finding.answer
    ]
    assert len(said) == 1
    assert said[0].startswith(("Cannot be said", "Not measured: ", "There is no evidence"))


def test_what_is_not_measured_says_what_to_add() -> None:
    found = findings({"run": {}})
    assert [finding.tone for finding in found] == ["missing"] * 5
    assert all(finding.answer.startswith("Not measured: ") for finding in found)
    remedies = ["compare", "TransferMonitor", "GapMonitor", "ForgettingMonitor", "two-stage"]
    assert all(remedy in finding.answer for remedy, finding in zip(remedies, found, strict=True))


def test_every_number_said_of_a_task_comes_with_its_interval() -> None:
    for finding in findings(records(), comparison()):
        assert all("[" in line for line in finding.evidence if "; difference " in line or "minus shared" in line)


# Does each task gain or lose by sharing?


def test_gains_losses_and_no_evidence_are_told_apart() -> None:
    found = answer(GAIN, judged=judged("gains", "loses", "no evidence"))
    assert found.answer == "a gains by sharing; b loses by sharing; for c there is no evidence either way."
    assert found.tone == "bad"
    assert (
        "a: accuracy (higher is better) 0.550 single-task, 0.650 multi-task; difference +0.100 [+0.050, +0.150] over 2 seeds: gains."
        in found.evidence
    )
    assert any("delta_m): +1.00 [+0.500, +1.50]: tasks gain on average" in line for line in found.evidence)
    assert found.sections == ("comparison",)


def test_no_evidence_is_an_answer() -> None:
    found = answer(GAIN, judged=judged("no evidence", "no evidence", delta_m=bounds(0.1, -1.0, 1.2)))
    assert (found.answer, found.tone) == ("For a and b there is no evidence either way.", "open")
    assert answer(GAIN, judged=judged("gains", "gains")).answer == "a and b gain by sharing."
    assert answer(GAIN, judged=judged("gains", "gains")).tone == "good"


def test_one_seed_has_no_interval() -> None:
    one = judged("no evidence", seeds=[0], delta_m=bounds(0.5, None, None))
    one["tasks"][0]["difference"] = bounds(0.1, None, None)
    found = answer(GAIN, judged=one)
    assert "difference +0.100 (one seed, no interval) over 1 seed: no evidence either way." in found.evidence[0]
    assert "+0.500 (one seed, no interval): no evidence either way" in found.evidence[1]


def test_two_networks_for_all_tasks_say_nothing_about_sharing() -> None:
    found = answer(GAIN, judged=judged("gains", arms=["flat", "levels"]))
    assert found.tone == "missing"
    assert found.answer == "Not measured: flat and levels were compared, both for all tasks. a gains by levels."


# Which tasks belong together?


def transfer(affinity: list[list[float | None]], error: float | None = 0.001, count: int = 20) -> dict[str, Any]:
    names: Any = ["a", "b", "c"][: len(affinity)]
    errors = [[error] * len(names) for _ in names]
    looks = [[count] * len(names) for _ in names]
    of = {"tasks": names, "affinity": affinity, "error": errors, "looks": looks, "probes": count}
    of["groups"] = {"2": [["a", "b"], ["c"]]}
    return {"monitors": {"TransferMonitor": of}}


def test_tasks_that_help_each_other_are_named() -> None:
    found = answer(TOGETHER, transfer([[0.5, 0.02, -0.03], [0.03, 0.5, 0.0], [0.0, 0.01, 0.5]]))
    assert found.answer.startswith(
        "a and b help each other; c helps b; a hurts c. For the other directions there is no evidence"
    )
    assert found.evidence[0].startswith(("a hurts c: affinity \u22123.0% [\u22123.3%, ", "b helps a"))
    assert "A split into 2 that affinity suggests: a and b | c." in found.evidence
    assert found.tone == "bad"
    both = answer(TOGETHER, transfer([[0.5, 0.02], [0.03, 0.5]]))
    assert both.answer == "a and b help each other."


def test_effects_within_their_error_are_no_evidence() -> None:
    found = answer(TOGETHER, transfer([[0.5, 0.02], [-0.02, 0.5]], error=0.01))
    assert found.answer == "There is no evidence that any task helps or hurts another (2 directions looked at)."
    assert found.tone == "open"
    assert "A split into 2 that affinity suggests, though no effect is beyond chance: a and b | c." in found.evidence
    once = answer(TOGETHER, transfer([[0.5, 0.02], [-0.02, 0.5]], error=None, count=1))
    assert once.tone == "missing"
    assert once.answer.startswith("Not measured: 1 probe of a pair of tasks gave no interval, which takes two.")


@pytest.mark.parametrize("count", [2, 3, 20, 400])
def test_intervals_hold_for_all_directions_at_once(count: int) -> None:
    size = 3
    wide = stats.t.ppf(1 - 0.025 / (size * (size - 1)), count - 1)
    for times, tone in ((1.01, "good"), (0.99, "open")):
        matrix: list[list[float | None]] = [[0.0] * size for _ in range(size)]
        matrix[0][1] = times * wide * 0.001
        assert answer(TOGETHER, transfer(matrix, count=count)).tone == tone


def test_gradients_that_point_apart_are_named_with_a_caveat() -> None:
    rates = [[0, 0.8, 0.55], [0.8, 0, 0.1], [0.55, 0.1, 0]]
    cosines = [[1, -0.4, 0.0], [-0.4, 1, 0.3], [0.0, 0.3, 1]]
    of = {"tasks": ["a", "b", "c"], "conflict_rate": rates, "cosine": cosines, "looks": [[50] * 3] * 3}
    found = answer(TOGETHER, {"monitors": {"ConflictMonitor": of}})
    assert found.answer.startswith("1 pair points apart more often than not.")
    assert "TransferMonitor" in found.answer
    assert "gradients of a and b point apart more often than not: in 80% [64%, 90%] of 50 looks" in found.evidence[0]
    assert "do not by themselves say" in found.evidence[-1]
    assert answer(TOGETHER, {"monitors": {"ConflictMonitor": of | {"looks": [[5] * 3] * 3}}}).answer.startswith(
        "There is no evidence that two tasks point apart"
    )


# Is the small task overfitting?


def gaps(*alarmed: str, rows: dict[str, int | None] | None = None, count: int = 8) -> dict[str, Any]:
    alarms = [{"task": name, "step": 300, "gap": 0.5, "rise": 0.2, "tolerance": 0.1} for name in alarmed]
    of = {"tasks": ["a", "b"], "steps": list(range(1 + count))}
    of |= {"train": [[1, 1]] * count + [[0.5, 0.5]], "validate": [[1, 1]] * count + [[0.7, None]]}
    counts = {"a": 1000, "b": 50} if rows is None else rows
    tasks = [{"name": name, "rows": count} for name, count in counts.items()]
    return {"tasks": tasks, "monitors": {"GapMonitor": {**of, "alarms": alarms}}}


def test_the_smallest_task_comes_first() -> None:
    found = answer(SMALL, gaps("b"))
    assert found.answer == "Yes: b (50 training rows, the fewest). No alarm for another task."
    assert found.tone == "bad"
    assert found.table is not None
    assert [row[:2] for row in found.table.rows] == [("b", "50"), ("a", "1,000")]
    assert "alarm at step 300: validation loss rose by 0.200, tolerance 0.100, gap 0.500" in found.table.rows[0][2]
    assert found.table.rows[1][2] == "no alarm; +0.200 at step 8 (training 0.500, validation 0.700)"


def test_no_alarm_is_no_sign() -> None:
    found = answer(SMALL, gaps())
    assert found.answer == "No sign of it for b (50 training rows, the fewest). No alarm for another task."
    assert found.tone == "open"
    few = answer(SMALL, gaps(count=7))
    assert few.answer.startswith("Cannot be said for b (50 training rows, the fewest): an alarm needs 8 validations")
    assert few.answer.endswith("there were 7. No alarm for another task.")
    assert few.tone == "missing"
    both = answer(SMALL, gaps("a", count=7))
    assert both.answer.endswith("there were 7. There were alarms for a.")
    assert both.tone == "bad"
    other = answer(SMALL, gaps("a"))
    assert other.answer == "No sign of it for b (50 training rows, the fewest). There were alarms for a."
    assert other.tone == "bad"


def test_a_gap_is_of_a_validation_with_training_before_it() -> None:
    record = gaps()
    record["monitors"]["GapMonitor"]["train"][-1] = [None, None]
    found = answer(SMALL, record)
    assert found.table is not None
    assert found.table.rows[1][2] == "no alarm; 0 at step 7 (training 1.00, validation 1.00)"
    record["monitors"]["GapMonitor"]["train"] = [[None, None]] * 9
    bare = answer(SMALL, record).table
    assert bare is not None
    assert bare.rows[0][2] == "no alarm; no validation with a training loss before it"


def test_rows_may_be_unknown() -> None:
    assert answer(SMALL, gaps("a", rows={"a": None, "b": None})).answer == "Yes: a."
    assert answer(SMALL, gaps(rows={})).answer == "No sign of it: no alarm for any task."


def test_tasks_that_were_stopped_are_named() -> None:
    record = gaps()
    record["monitors"]["TaskEarlyStopping"] = {"stopped": {"b": 250}}
    assert "b was stopped early at step 250." in answer(SMALL, record).evidence


# Is a task being forgotten?


def scores(*rows: list[float | None], alarms: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    told = [{"task": name, "step": 2, "drop": 0.3, "tolerance": 0.1, "safe": "x.ckpt"} for name in alarms]
    steps = list(range(1, len(rows) + 1))
    return {
        "monitors": {
            "ForgettingMonitor": {"tasks": ["a", "b"], "steps": steps, "scores": list(rows), "alarms": told, **more}
        }
    }


def test_alarms_are_told_with_drop_tolerance_and_checkpoint() -> None:
    found = answer(FORGOTTEN, scores([0.8, 0.1], [0.4, 0.5], [0.5, 0.6], alarms=("a",), figures={"forgetting": 0.15}))
    assert (found.answer, found.tone) == ("Yes: a.", "bad")
    assert found.table is not None
    assert found.table.rows[0] == (
        "a",
        "alarm at step 2 (0.300, tolerance 0.100); 0.300 below its best at the end, 0.400 at worst",
    )
    assert found.table.rows[1] == ("b", "no alarm; 0 below its best at the end, 0 at worst")
    assert found.evidence[0] == "Forgetting (how far tasks are below their best, on average) +0.150."
    assert found.evidence[1] == "Checkpoints from before the drops: a: x.ckpt."


def test_no_alarm_is_told_with_the_number_of_looks() -> None:
    rows: list[list[float | None]] = [[0.8, 0.1]] * 8
    calm = answer(FORGOTTEN, scores(*rows))
    assert (calm.answer, calm.tone) == ("No sign of it: no alarm in 8 validations.", "open")
    few = answer(FORGOTTEN, scores(*rows[:7], [0.1, None]))
    assert few.answer == "Cannot be said: an alarm needs 8 validations of a task, there were 7."
    assert answer(FORGOTTEN, scores([0.8, 0.1])).answer.endswith("there was 1.")


def test_runs_are_told_beside_each_other() -> None:
    naive, calm = scores([0.8, 0.1], [0.4, 0.5], alarms=("a",)), scores([0.8, 0.1], [0.8, 0.5])
    found = findings({"naive": naive, "replay": calm})[FORGOTTEN]
    assert found.answer == "Yes: a in \u201cnaive\u201d. No alarm in \u201creplay\u201d."
    assert found.table is not None
    assert found.table.header == ("task", "naive", "replay")
    assert found.evidence[-1].startswith("These are single runs")


# How much capacity should be shared?


def staged(*gained: float, sign: int = 1) -> dict[str, Any]:
    """A comparison whose two-stage arm gains this much, give or take a little."""
    of = judged(*["no evidence"] * len(gained))
    for task, gain in zip(of["tasks"], gained, strict=True):
        multi = [0.5, 0.52, 0.48, 0.51]
        own = [value + sign * (gain + noise) for value, noise in zip(multi, (0.01, -0.01, 0.005, -0.005), strict=True)]
        task |= {"multi": multi, "two_stage": own, "sign": sign}
    return of


def test_tasks_that_gain_by_the_second_stage_are_named() -> None:
    found = answer(CAPACITY, judged=staged(0.1, -0.1, 0.0))
    assert found.answer.startswith(
        "a gains by going on alone; b loses by going on alone; for c there is no evidence either way"
    )
    assert found.tone == "good"
    exact = stats.ttest_1samp([0.11, 0.09, 0.105, 0.095], 0).confidence_interval(0.95)
    assert f"[+{exact.low:.3f}, +{exact.high:.3f}]: better than the shared network" in found.evidence[0]
    assert "more training" in found.evidence[-1]


def test_directions_count() -> None:
    assert answer(CAPACITY, judged=staged(0.1, sign=-1)).answer == "a gains by going on alone."
    nothing = answer(CAPACITY, judged=staged(0.0))
    assert nothing.answer.startswith("For a there is no evidence either way")
    assert nothing.tone == "open"


def test_sizes_times_and_levels_are_told() -> None:
    found = answer(CAPACITY, run(0.7, 0), comparison())
    assert any("One network has 20% of what all single-task networks have." in line for line in found.evidence)
    assert any(line.startswith("Training took: single-task 1,510 s, multi-task 402 s") for line in found.evidence)
    assert any(line.startswith("part of speech needs 31% of the encoder's work") for line in found.evidence)
    alone = answer(CAPACITY, run(0.7, 0))
    assert alone.tone == "missing"
    assert alone.sections == ("levels",)


def test_a_seed_that_failed_leaves_no_pairs() -> None:
    of = staged(0.1)
    of["tasks"][0]["two_stage"][1] = None
    assert answer(CAPACITY, judged=of).tone == "missing"


def test_records_are_left_as_they_are() -> None:
    given, told = records(), comparison()
    before = copy.deepcopy((given, told))
    findings(given, told)
    assert (given, told) == before
    assert math.isfinite(told["delta_m"]["mean"])
