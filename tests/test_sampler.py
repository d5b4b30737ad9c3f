"""The plan of steps: nothing twice, nothing lost, whatever the number of ranks."""

from __future__ import annotations

from collections import Counter

import pytest

from lightning_mtl.sampler import AllSourcesSampler

SIZES = [{"a": 10}, {"a": 10, "b": 7}, {"a": 33, "b": 4, "c": 16}, {"a": 9, "b": 9}]


def sampler(
    sizes: dict[str, int], batch: int = 2, ranks: int = 1, rank: int = 0, **options: object
) -> AllSourcesSampler:
    return AllSourcesSampler(sizes, dict.fromkeys(sizes, batch), num_replicas=ranks, rank=rank, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("cycle", [True, False])
def test_a_pass_reads_every_row_once(sizes: dict[str, int], ranks: int, cycle: bool) -> None:
    plans = [list(sampler(sizes, ranks=ranks, rank=rank, cycle=cycle)) for rank in range(ranks)]
    longest = max(sizes, key=lambda name: sizes[name])
    for name, size in sizes.items():
        drawn = Counter(row for plan in plans for step in plan for row in step.get(name, []))
        if cycle and name != longest:
            assert max(drawn.values()) - min(drawn[row] for row in range(size)) <= 1
        else:
            assert drawn == Counter(range(size))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_ranks_read_together_what_one_process_reads(sizes: dict[str, int]) -> None:
    for epoch in range(3):
        whole = sampler(sizes, batch=4)
        parts = [sampler(sizes, batch=2, ranks=2, rank=rank) for rank in range(2)]
        for each in (whole, *parts):
            each.set_epoch(epoch)
        assert len(whole) == len(parts[0]) == len(parts[1])
        for step, *ranked in zip(whole, *parts, strict=True):
            assert step == {name: [row for part in ranked for row in part[name]] for name in sizes}


def test_batches_of_a_pass_differ_by_one_row() -> None:
    assert Counter(len(step["a"]) for step in sampler({"a": 33}, batch=16)) == {11: 3}


def test_epochs_have_orders_of_their_own_and_come_again() -> None:
    plan = sampler({"a": 20, "b": 6})
    epochs = []
    for epoch in (0, 1, 0):
        plan.set_epoch(epoch)
        epochs.append(list(plan))
    assert epochs[0] == epochs[2] != epochs[1]
    assert list(sampler({"a": 20, "b": 6}, seed=1)) != epochs[0]


def test_short_sources_are_never_starved_over_epochs() -> None:
    plan = sampler({"a": 20, "b": 7})
    drawn: Counter[int] = Counter()
    for epoch in range(8):
        plan.set_epoch(epoch)
        drawn.update(row for step in plan for row in step["b"])
    assert set(drawn) == set(range(7))
    assert max(drawn.values()) - min(drawn.values()) <= 1


def test_a_source_is_read_alike_beside_other_sources() -> None:
    alone = sampler({"b": 7}, steps=10)
    beside = sampler({"a": 20, "b": 7})
    assert [step["b"] for step in alone] == [step["b"] for step in beside]


def test_unshuffled_rows_come_in_their_order_over_epochs() -> None:
    plan = sampler({"a": 8, "b": 6}, shuffle=False, steps=3)
    rows: dict[str, list[int]] = {"a": [], "b": []}
    for epoch in range(4):
        plan.set_epoch(epoch)
        for step in plan:
            for name in rows:
                rows[name] += step[name]
    assert rows == {"a": [*range(8)] * 3, "b": [*range(6)] * 4}


def test_frozen_epochs_are_equal() -> None:
    plan = sampler({"a": 8, "b": 6}, frozen=True)
    first = list(plan)
    plan.set_epoch(1)
    assert list(plan) == first


@pytest.mark.parametrize("size", [4, 5, 7, 9])
def test_no_rank_is_ever_without_rows(size: int) -> None:
    plans = [list(sampler({"a": size}, batch=1, ranks=4, rank=rank)) for rank in range(4)]
    assert all(step["a"] for plan in plans for step in plan)
    assert sorted(row for plan in plans for step in plan for row in step["a"]) == list(range(size))


def test_steps_that_were_taken_can_be_left_out() -> None:
    plan = sampler({"a": 20, "b": 6})
    whole = list(plan)
    plan.skip = 3
    assert list(plan) == whole[3:]
    assert list(plan) == whole  # once only


def test_steps_can_be_set() -> None:
    assert len(list(sampler({"a": 8}, steps=11))) == 11 == len(sampler({"a": 8}, steps=11))
