"""The plan of steps: nothing twice, nothing lost, nobody starved, whatever the number of ranks and interruptions."""

from __future__ import annotations

import copy
import io
import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

import jaxtyping
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from lightning_mtl import MultiTaskDataModule
from lightning_mtl.samplers import (
    BATCHES,
    LAG,
    Annealed,
    Batches,
    DynamicTaskPrioritization,
    EvaluationSampler,
    Exp3S,
    Explicit,
    ForgettingDriven,
    FunctionOfStep,
    MultiTaskSampler,
    Phase,
    Phases,
    Plan,
    Proportional,
    Rows,
    Rule,
    Signals,
    Smoothing,
    Temperature,
    Uniform,
    asked,
)
from lightning_mtl.samplers._batches import largest_remainders
from tests.cases import over

SIZES = [{"a": 10}, {"a": 10, "b": 7}, {"a": 33, "b": 4, "c": 16}, {"a": 9, "b": 9}]
PHASES = Phases([Phase(["a"], steps=3), Phase(["b", "a"], steps=2), Phase(["c", "a"], steps=2)])
DRAWN: list[tuple[Batches, Rule]] = [
    ("all", Uniform()),
    ("all", PHASES),
    ("homogeneous", Uniform()),
    ("homogeneous", Annealed(epochs=2)),
    ("stratified", Temperature(5.0)),
    ("stratified", PHASES),
    ("mixed", Proportional()),
    ("mixed", Annealed(epochs=2)),
]
"""Every kind of batches, under rates that stay and rates that change."""


def describe(value: Any) -> str:
    return type(value).__name__ if isinstance(value, Rule) else str(value).replace("'", "")


def sampler(
    sizes: Mapping[str, int],
    batches: Batches = "all",
    rule: Rule | None = None,
    *,
    batch: int = 8,
    ranks: int = 1,
    rank: int = 0,
    lengths: Mapping[str, Any] | None = None,
    **options: Any,
) -> MultiTaskSampler:
    streams = {
        name: Rows(rows, batch, name=name, ranks=ranks, lengths=(lengths or {}).get(name))
        for name, rows in sizes.items()
    }
    return MultiTaskSampler(streams, rule, batches=batches, batch=batch, num_replicas=ranks, rank=rank, **options)


def run(plan: MultiTaskSampler, ahead: int = 0) -> Iterator[Plan]:
    """Deliver step after step and epoch after epoch, as a loader does that reads so many steps ahead."""
    for epoch in count(plan.epoch):
        plan.set_epoch(epoch)
        planned = iter(plan)
        waiting = deque(islice(planned, ahead))
        while waiting.extend(islice(planned, 1)) or waiting:  # type: ignore[func-returns-value]
            plan.deliver()
            yield waiting.popleft()


def read(plan: MultiTaskSampler, steps: int, ahead: int = 0) -> list[Plan]:
    return list(islice(run(plan, ahead), steps))


def cut(step: Plan, rank: int, ranks: int) -> Plan:
    """Take every `ranks`-th row of a global batch, counted through."""
    rows = [(name, row) for name, of in step.items() for row in of][rank::ranks]
    return {name: [row for source, row in rows if source == name] for name in step}


def rows_of(steps: Sequence[Plan], source: str) -> list[int]:
    return [row for step in steps for row in step.get(source, [])]


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def goes_on(plan: MultiTaskSampler, state: dict[str, Any]) -> MultiTaskSampler:
    """Take a state in the epoch in which it was saved, as Lightning does."""
    plan.load_state_dict(state)
    plan.set_epoch(state["epoch"])
    return plan


# What is read


@pytest.mark.parametrize(("batches", "rule"), DRAWN, ids=describe)
@over("sizes", SIZES, ids=describe)
def test_every_pass_reads_every_row_once(sizes: dict[str, int], batches: Batches, rule: Rule) -> None:
    """Over epochs, that is: no row is ever drawn twice more often than another, so no row and no source starves."""
    steps = read(sampler(sizes, batches, rule), 60)
    for name, size in sizes.items():
        drawn = rows_of(steps, name)
        assert len(drawn) >= size
        for start in range(0, len(drawn) - size + 1, size):
            assert sorted(drawn[start : start + size]) == list(range(size))
        assert len(set(drawn[len(drawn) // size * size :])) == len(drawn) % size


@over("ranks", [2, 4])
@pytest.mark.parametrize(("batches", "rule"), DRAWN, ids=describe)
@over("sizes", SIZES, ids=describe)
def test_ranks_read_together_what_one_process_reads(
    sizes: dict[str, int], batches: Batches, rule: Rule, ranks: int
) -> None:
    whole = read(sampler(sizes, batches, rule), 40)
    parts = [read(sampler(sizes, batches, rule, ranks=ranks, rank=rank), 40) for rank in range(ranks)]
    for step, *ranked in zip(whole, *parts, strict=True):
        assert ranked == [cut(step, rank, ranks) for rank in range(ranks)]
        for name, rows in step.items():
            assert sorted(row for part in ranked for row in part[name]) == sorted(rows)
        totals = [sum(map(len, part.values())) for part in ranked]
        assert max(totals) - min(totals) <= 1 <= min(totals)
        assert all(list(part) == list(step) for part in ranked)


@over("ranks", [2, 3, 4])
def test_ranks_read_together_what_one_process_reads_by_length(ranks: int) -> None:
    sizes = {"a": 1001, "b": 77, "c": 50}
    lengths = {"a": [5 + row * row % 97 for row in range(1001)], "b": torch.arange(77) % 13}
    whole = read(sampler(sizes, batch=12, lengths=lengths), 200)
    for rank in range(ranks):
        part = read(sampler(sizes, batch=12, lengths=lengths, ranks=ranks, rank=rank), 200)
        assert part == [cut(step, rank, ranks) for step in whole]


@over("rows", [4, 5, 7, 9])
def test_a_source_smaller_than_a_batch_reaches_every_rank(rows: int) -> None:
    for batches in ("all", "homogeneous"):
        parts = [read(sampler({"a": rows}, batches, batch=4, ranks=4, rank=rank), 20) for rank in range(4)]
        assert all(step["a"] for part in parts for step in part)


@pytest.mark.parametrize("batches", BATCHES)
@over("sizes", SIZES, ids=describe)
@pytest.mark.parametrize("steps", [None, "longest", "shortest", "proportional", {"a": 2.5}, 7], ids=str)
def test_the_announced_length_is_planned(sizes: dict[str, int], batches: Batches, steps: Any) -> None:
    plans = [sampler(sizes, batches, ranks=ranks, rank=ranks - 1, steps=steps) for ranks in (1, 2, 4)]
    for plan in [*plans, sampler(sizes, batches, batch=5, steps=steps)]:
        for epoch in range(3):
            plan.set_epoch(epoch)
            planned = 0
            for planned, _ in enumerate(plan, 1):  # noqa: B007
                plan.deliver()
            assert planned == len(plan)
    assert len({len(plan) for plan in plans}) == 1


@pytest.mark.parametrize("batches", BATCHES)
def test_the_length_of_an_epoch_only_cuts_what_is_read(batches: Batches) -> None:
    """Positions run on from epoch to epoch: a short epoch does not begin with the same rows again."""
    sizes = {"a": 33, "b": 4, "c": 16}
    assert read(sampler(sizes, batches, steps=5), 45) == read(sampler(sizes, batches, steps=45), 45)


@over("ahead", [4, LAG - 1])
@pytest.mark.parametrize(("batches", "rule"), DRAWN, ids=describe)
def test_reading_ahead_changes_nothing(batches: Batches, rule: Rule, ahead: int) -> None:
    sizes = {"a": 33, "b": 4, "c": 16}
    assert read(sampler(sizes, batches, rule, steps=50), 120, ahead) == read(
        sampler(sizes, batches, rule, steps=50), 120
    )


@pytest.mark.parametrize("batches", BATCHES)
def test_seeds_epochs_and_sources_have_orders_of_their_own(batches: Batches) -> None:
    sizes = {"a": 40, "b": 40}
    steps = read(sampler(sizes, batches, steps=10), 60)
    passes = {(name, number): rows_of(steps, name)[40 * number :][:40] for name in sizes for number in range(2)}
    assert len({tuple(rows) for rows in passes.values()}) == 4
    assert read(sampler(sizes, batches, steps=10), 60) == steps
    assert read(sampler(sizes, batches, steps=10, seed=1), 60) != steps


def test_batches_change_between_passes() -> None:
    steps = read(sampler({"a": 64}, batch=4), 32)
    first, second = ({frozenset(step["a"]) for step in steps[i : i + 16]} for i in (0, 16))
    assert len(first & second) <= 1


def test_a_source_is_read_alike_beside_other_sources() -> None:
    alone = read(sampler({"b": 7}), 10)
    beside = read(sampler({"a": 20, "b": 7}), 10)
    assert [step["b"] for step in alone] == [step["b"] for step in beside]


def test_batches_of_a_pass_differ_by_one_row() -> None:
    assert Counter(len(step["a"]) for step in sampler({"a": 33}, batch=16)) == {11: 3}


@pytest.mark.parametrize("batches", BATCHES)
def test_frozen_epochs_are_equal(batches: Batches) -> None:
    sizes = {"a": 33, "b": 12}
    plan = sampler(sizes, batches, frozen=True, steps=6)
    steps = read(plan, 15)
    assert steps[:6] == steps[6:12] == read(sampler(sizes, batches, steps=6), 6)
    assert steps[12:] == steps[:3]
    again = goes_on(sampler(sizes, batches, frozen=True, steps=6, seed=1), plan.state_dict())
    assert read(again, 9) == [*steps[3:6], *steps[:6]]


# How often each source is drawn


MANY = {"a": 9000, "b": 1000, "c": 250}
STEPS = 500
FORMULAS: list[tuple[Rule, Any]] = [
    (Uniform(), lambda step, n: 1.0),
    (Proportional(), lambda step, n: n),
    (Temperature(2.0), lambda step, n: math.sqrt(n)),
    (Temperature(5.0, cap=1000.0), lambda step, n: min(n, 1000) ** 0.2),
    (Smoothing(0.3), lambda step, n: n**0.3),
    (Explicit({"a": 2.0, "b": 5.0, "c": 3.0}), lambda step, n: {9000: 2.0, 1000: 5.0, 250: 3.0}[n]),
    (Explicit({"a": 1.0, "b": 0.0, "c": 3.0}), lambda step, n: {9000: 1.0, 1000: 0.0, 250: 3.0}[n]),
    (Annealed(start=1.0, end=0.0, epochs=3), lambda step, n: n ** (1 - step // STEPS / 2)),
    (FunctionOfStep(lambda step: [1.0, 1.0, float(step)]), lambda step, n: float(step) if n == 250 else 1.0),
    (
        Phases([Phase(["a", "b"], steps=300), Phase(["c"], steps=200)]),
        lambda step, n: float(n > 250) * n if step % 500 < 300 else float(n == 250),
    ),
]


def expected(formula: Any, steps: range) -> list[float]:
    """Sum the shares of three sources over steps."""
    shared = [[formula(step, n) for n in MANY.values()] for step in steps]
    return [sum(rates[i] / sum(rates) for rates in shared) for i in range(len(MANY))]


def likely(drawn: Sequence[int], wanted: Sequence[float]) -> bool:
    """Say whether counts may be chance; what is never wanted must never come."""
    some = [(got, want) for got, want in zip(drawn, wanted, strict=True) if want > 0]
    if sum(got for got, _ in some) != sum(drawn):
        return False
    return len(some) == 1 or bool(chisquare(*zip(*some, strict=True)).pvalue > 1e-4)


@pytest.mark.parametrize("batches", ["homogeneous", "mixed"])
@pytest.mark.parametrize(
    ("rule", "formula"), FORMULAS, ids=lambda value: repr(value) if isinstance(value, Rule) else ""
)
def test_draws_follow_the_rates(rule: Rule, formula: Any, batches: Batches) -> None:
    steps = read(sampler(MANY, batches, rule, batch=16, steps=STEPS), 3 * STEPS)
    rows = 16 if batches == "mixed" else 1
    for epoch in range(3):
        part = range(epoch * STEPS, (epoch + 1) * STEPS)
        drawn = [sum(len(steps[i].get(name, [])) if rows > 1 else name in steps[i] for i in part) for name in MANY]
        assert likely(drawn, [rows * want for want in expected(formula, part)])
        # It could fail: rates that are 10 of 100 off are noticed.
        if len(set(drawn)) == len(drawn) and rows > 1:
            assert not likely(
                drawn, [rows * STEPS * (drawn[i] / sum(drawn) + off) for i, off in enumerate((-0.1, 0.1, 0))]
            )


@pytest.mark.parametrize(
    "rule", [Exp3S(learning_rate=2.0), DynamicTaskPrioritization(), ForgettingDriven()], ids=describe
)
def test_draws_follow_the_rates_that_a_rule_with_feedback_announced(rule: Rule) -> None:
    plan = sampler(MANY, "homogeneous", rule, steps=2000)
    known = copy.copy(plan.signals)
    for losses, scores in (([1.0, 1.0, 1.0], [0.9, 0.6, 0.3]), ([0.9, 0.5, 1.0], [0.7, 0.6, 0.35])):
        known.losses, known.scores, known.draws = (torch.tensor(of).double() for of in (losses, scores, [40.0, 30, 20]))
        plan.rates.announce(plan.delivered.step, asked(rule, plan.delivered.step, known))
        read(plan, LAG)
        rates = torch.tensor(plan.rates.at(plan.delivered.step), dtype=torch.float64)
        drawn = read(plan, 700)
        assert likely([sum(name in step for step in drawn) for name in MANY], (700 * rates).tolist())
    assert rates.std() > 0.03


def test_draws_of_a_step_do_not_depend_on_those_before() -> None:
    steps = read(sampler(MANY, "homogeneous", steps=4000), 4000)
    sources = torch.tensor([list(MANY).index(next(iter(step))) for step in steps])
    for distance in (1, 2, 1024):
        table = torch.bincount(sources[:-distance] * 3 + sources[distance:], minlength=9).reshape(3, 3)
        assert chi2_contingency(table.numpy()).pvalue > 1e-3


@over("seed", range(5))
def test_stratified_batches_hold_the_largest_remainders(seed: int) -> None:
    """Nobody is off by a whole row, and who gets the row that is left over has no smaller remainder than who does not."""
    generator = torch.Generator().manual_seed(seed)
    for batch in (7, 32, 100):
        sizes = {
            name: int(rows) for name, rows in zip("abcd", torch.randint(40, 90, (4,), generator=generator), strict=True)
        }
        steps = read(sampler(sizes, "stratified", Proportional(), batch=batch), 9)
        held = {tuple(len(step[name]) for name in sizes) for step in steps}
        assert len(held) == 1
        exact = [batch * rows / sum(sizes.values()) for rows in sizes.values()]
        over = [got - want for got, want in zip(*held, exact, strict=True)]
        assert sum(*held) == batch
        assert all(-1 < part < 1 for part in over)
        raised = [want % 1 for want, part in zip(exact, over, strict=True) if part > 0]
        kept = [want % 1 for want, part in zip(exact, over, strict=True) if part <= 0]
        assert not raised or not kept or min(raised) >= max(kept)


@pytest.mark.parametrize(
    ("rates", "rows", "counts"),
    [
        ([0.47, 0.16, 0.158, 0.12, 0.061, 0.031], 10, [5, 2, 1, 1, 1, 0]),  # the textbook's election
        ([0.5, 0.5], 3, [2, 1]),  # the first of equals
        ([1 / 3, 1 / 3, 1 / 3], 9, [3, 3, 3]),
        ([0.1, 0.2, 0.7], 10, [1, 2, 7]),  # 0.7 times 10 is a little less than 7
        ([0.0, 1.0], 4, [0, 4]),
    ],
    ids=str,
)
def test_largest_remainders_by_hand(rates: list[float], rows: int, counts: list[int]) -> None:
    assert largest_remainders(rates, rows) == counts


def test_a_source_without_a_row_in_stratified_batches_is_named() -> None:
    says = (
        r"must give each source a row of the 4 in a global batch, got none for \['b'\] at rates .* Raise `batch_size`"
    )
    with pytest.raises(ValueError, match=says):
        sampler({"a": 97, "b": 3}, "stratified", Proportional(), batch=4)
    assert read(sampler({"a": 97, "b": 3}, "mixed", Proportional(), batch=4), 3)


def test_a_kind_of_batches_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user's run checks no types
    with pytest.raises(ValueError, match=r"`batches` must be one of \['all', .*'mixed'\], got 'mixd'"):
        sampler({"a": 3}, "mixd")  # type: ignore[arg-type]


# Rates that are announced


class Told(Rule):
    """Rates that come from outside only."""

    feedback = True

    def rates(self, step: int, signals: Signals) -> torch.Tensor:
        return torch.ones(len(signals.sources), dtype=torch.float64)


@pytest.mark.parametrize("batches", BATCHES)
@over("ahead", [0, 4, LAG - 1])
def test_announced_rates_hold_from_their_step_on(batches: Batches, ahead: int) -> None:
    """As under rates that were known from the beginning, whatever was read ahead, and through an interruption in between."""
    sizes = {"a": 33, "b": 14, "c": 16}
    old, new, last = [1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 2.0, 5.0]
    known = FunctionOfStep(lambda step: old if step < 11 + LAG else new if step < 20 + LAG else last)
    whole = read(sampler(sizes, batches, known, steps=60), 90)
    plan = sampler(sizes, batches, Told(), steps=60)
    steps = read(plan, 11, ahead)
    assert plan.rates.announce(plan.delivered.step, torch.tensor(new, dtype=torch.float64) / 2) == 11 + LAG
    steps += read(plan, 9, ahead)
    plan.rates.announce(plan.delivered.step, torch.tensor(last, dtype=torch.float64) / 8)
    saved = through_a_file(plan.state_dict())
    steps += read(plan, 70, ahead)
    assert steps == whole
    assert plan.rates.at(20 + LAG) == [rate / 8 for rate in last]
    resumed = goes_on(sampler(sizes, batches, Told(), steps=60, seed=5), saved)
    assert read(resumed, 70, ahead) == whole[20:]
    assert set(whole[12 + LAG]) <= {"a", "c"}


@pytest.mark.parametrize(("batches", "rule"), [*DRAWN, *((kind, Told()) for kind in BATCHES)], ids=describe)
@over("ahead", [0, LAG - 1])
def test_what_is_left_out_is_drawn_no_more_from_its_step_on(batches: Batches, rule: Rule, ahead: int) -> None:
    """As under rates that were known from the beginning, whatever was read ahead, and through interruptions in between."""
    sizes = {"a": 33, "b": 14, "c": 16}
    plain = sampler(sizes, batches, rule, steps=60)

    def left(step: int) -> list[float]:
        rates = plain.rates.at(step)
        kept = [
            0.0 if name == "c" or (name == "a" and step >= 20 + LAG) else of
            for name, of in zip(sizes, rates, strict=True)
        ]
        return rates if step < 11 + LAG else kept if any(kept) else [float(of > 0) for of in (step < 20 + LAG, 1, 0)]

    whole = read(sampler(sizes, batches, FunctionOfStep(left), steps=60), 90)
    plan = sampler(sizes, batches, rule, steps=60)
    steps = read(plan, 11, ahead)
    assert plan.leave_out(["c"]) == 11 + LAG
    steps += read(plan, 9, ahead)
    assert plan.leave_out(["a", "c"]) == 20 + LAG
    saved = through_a_file(plan.state_dict())
    steps += read(plan, 70, ahead)
    assert steps == whole
    assert {name for step in steps[20 + LAG :] for name in step} == {"b"}
    resumed = goes_on(sampler(sizes, batches, rule, steps=60, seed=5), saved)
    assert read(resumed, 70, ahead) == whole[20:]
    assert plan.shown_rates() == [0.0, 1.0, 0.0]


def test_rates_that_were_saved_before_any_could_be_left_out() -> None:
    plan = sampler({"a": 9, "b": 9})
    state = plan.state_dict()
    del state["rates"]["left_out"]
    plan.load_state_dict(state)
    assert plan.rates.left_out == {}


# Interruptions


@over("delivered", [1, 12, 29])
@over("ahead", [0, 5])
@pytest.mark.parametrize(("batches", "rule"), DRAWN, ids=describe)
def test_a_state_gives_the_rest_exactly(batches: Batches, rule: Rule, ahead: int, delivered: int) -> None:
    """Within an epoch of 12 steps and at its end, with more planned than delivered, whatever the seed today."""
    sizes = {"a": 33, "b": 4, "c": 16}
    whole = read(sampler(sizes, batches, rule, steps=12), 60)
    plan = sampler(sizes, batches, rule, steps=12)
    assert read(plan, delivered, ahead) == whole[:delivered]
    state = through_a_file(plan.state_dict())
    resumed = goes_on(sampler(sizes, batches, rule, steps=12, seed=99), state)
    assert len(list(resumed)) == (12 - delivered % 12)
    resumed = goes_on(sampler(sizes, batches, rule, steps=12, seed=99), state)
    assert read(resumed, 60 - delivered) == whole[delivered:]
    assert read(plan, 60 - delivered) == whole[delivered:]  # the plan itself goes on as well


@over("ranks", [1, 4])
@pytest.mark.parametrize(("batches", "rule"), DRAWN, ids=describe)
def test_a_state_goes_on_with_other_ranks(batches: Batches, rule: Rule, ranks: int) -> None:
    """Saved by two ranks with 4 rows each, resumed by one with 8 and by four with 2."""
    sizes = {"a": 33, "b": 4, "c": 16}
    whole = read(sampler(sizes, batches, rule, steps=12), 40)
    plan = sampler(sizes, batches, rule, ranks=2, rank=1, steps=12)
    assert read(plan, 17, ahead=3) == [cut(step, 1, 2) for step in whole[:17]]
    state = through_a_file(plan.state_dict())
    for rank in range(ranks):
        resumed = goes_on(sampler(sizes, batches, rule, ranks=ranks, rank=rank, steps=12, seed=3), state)
        assert read(resumed, 23) == [cut(step, rank, ranks) for step in whole[17:]]


def test_a_state_by_length_gives_the_rest_exactly() -> None:
    sizes, lengths = {"a": 200, "b": 60}, {"a": [row % 17 for row in range(200)], "b": [row % 5 for row in range(60)]}
    whole = read(sampler(sizes, lengths=lengths, batch=2), 300)
    for delivered in (1, 37, 99, 160):
        plan = sampler(sizes, lengths=lengths, batch=2)
        read(plan, delivered)
        resumed = goes_on(sampler(sizes, lengths=lengths, batch=2, seed=1), plan.state_dict())
        assert read(resumed, 300 - delivered) == whole[delivered:]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            {"sizes": {"a": 33}},
            r"must be of the same sources to resume sampling, got \{'a': 33\} today and \{'a': 33, 'b': 8\}",
        ),
        ({"sizes": {"a": 34, "b": 8}}, "must be of the same sources"),
        ({"batches": "stratified"}, "must be of the same batches to resume sampling, got stratified today and mixed"),
        (
            {"batch": 16},
            r"must be of the same global batches of a pass.* \{'a': 3, 'b': 1\} today and \{'a': 5, 'b': 1\}",
        ),
        ({"sizes": {"a": 33, "b": 8}, "batch": 7}, "1/N of the `batch_size`"),
    ],
)
def test_a_state_of_something_else_is_refused(other: dict[str, Any], says: str) -> None:
    made: dict[str, Any] = {"sizes": {"a": 33, "b": 8}, "batches": "mixed", "batch": 8}
    state = sampler(**made).state_dict()
    with pytest.raises(ValueError, match=says):
        sampler(**{**made, **other}).load_state_dict(state)


def test_another_rule_goes_on_from_the_same_place() -> None:
    plan = sampler({"a": 33, "b": 8}, "mixed", Uniform())
    steps = read(plan, 5)
    other = sampler({"a": 33, "b": 8}, "mixed", Explicit({"a": 1.0, "b": 0.0}), seed=4)
    with pytest.warns(UserWarning, match=r"Sampling continues by Explicit\(rates=.*; it was saved under Uniform\(\)"):
        goes_on(other, plan.state_dict())
    rest = read(other, 6)
    assert not rows_of(rest, "b")
    first = rows_of([*steps, *rest], "a")
    assert sorted(first[:33]) == list(range(33))


# Evaluation


@over("ranks", [1, 2, 3])
@over("sizes", SIZES, ids=describe)
def test_an_evaluation_reads_every_row_once_and_every_time_the_same(sizes: dict[str, int], ranks: int) -> None:
    plans = []
    for rank in range(ranks):
        streams = {name: Rows(rows, 4, name=name, shuffle=False, ranks=ranks) for name, rows in sizes.items()}
        plan = EvaluationSampler(streams, num_replicas=ranks, rank=rank)
        plans.append(list(plan))
        plan.set_epoch(1)
        assert list(plan) == plans[-1]
        assert len(plan) == len(plans[-1])
    for name, rows in sizes.items():
        assert sorted(row for plan in plans for row in rows_of(plan, name)) == list(range(rows))
        assert ranks > 1 or rows_of(plans[0], name) == list(range(rows))
    for steps in zip(*plans, strict=True):
        assert all(list(step) == list(steps[0]) and all(step.values()) for step in steps)


# Through a loader


def numbered(sizes: Mapping[str, int]) -> dict[str, Any]:
    return {name: {"train": [{"id": row, "x": [float(row)]} for row in range(rows)]} for name, rows in sizes.items()}


def delivered(data: MultiTaskDataModule, epochs: int = 2) -> list[Plan]:
    """Read the numbers of the rows out of the batches of some epochs."""
    data.setup("fit")
    loader = data.train_dataloader()
    steps: list[Plan] = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        batches = [{name: part["id"].tolist() for name, part in batch.items()} for batch in loader]
        assert len(batches) == len(loader)
        steps += batches
    return steps


@pytest.mark.parametrize("batches", BATCHES)
def test_a_loader_delivers_the_plan_for_any_number_of_workers(batches: Batches) -> None:
    sizes = {"a": 33, "b": 4, "c": 16}
    rule = None if batches == "all" else Temperature()
    made = [
        delivered(
            MultiTaskDataModule(numbered(sizes), batch_size=8, num_workers=workers, sampling=rule, batches=batches)
        )
        for workers in (0, 2)
    ]
    plan = sampler(sizes, batches, rule)
    assert made[0] == made[1] == read(plan, 2 * len(plan))


@pytest.mark.filterwarnings("ignore:This DataLoader will create 16 worker processes")
def test_new_rates_are_announced_earlier_than_workers_read() -> None:
    data = MultiTaskDataModule(numbered({"a": 10, "b": 10}), num_workers=LAG // 2, sampling=Exp3S())
    data.setup("fit")
    with pytest.raises(
        ValueError, match=f"must read fewer than {LAG} batches ahead.* got 16 workers with 2 batches each"
    ):
        data.train_dataloader()
