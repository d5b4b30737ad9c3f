"""The plan of steps: nothing twice, nothing lost, whatever the number of ranks."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from lightning_mtl.samplers import EvaluationSampler, MultiTaskSampler, Rows, Uniform

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


# Lengths


def skewed(rows: int = 20_000, seed: int = 0) -> list[int]:
    """Lengths as texts have them: many short ones, a long tail, cut at 128 tokens."""
    normal = torch.randn(rows, generator=torch.Generator().manual_seed(seed))
    return (3 + 0.7 * normal).exp().long().clamp(3, 128).tolist()


def padding(plans: Iterable[dict[str, list[int]]], lengths: list[int]) -> float:
    """Share of the positions of all batches that hold nothing."""
    batches = [[lengths[row] for row in plan["a"]] for plan in plans]
    return 1 - sum(map(sum, batches)) / sum(max(batch) * len(batch) for batch in batches)


def test_plans_without_lengths_are_a_permutation_cut_into_pieces() -> None:
    """Ten lines that know nothing of the class; sources with lengths beside them change nothing."""
    for ranks, rank in ((1, 0), (2, 1)):
        expected, rows = [], 2 * ranks
        for number in range(2):
            key = zlib.crc32(f"3/a/{number}".encode())
            order = torch.randperm(23, generator=torch.Generator().manual_seed(key))
            pieces = order.tensor_split(-(-23 // rows))
            expected.append([piece.tensor_split(ranks)[rank].tolist() for piece in pieces])
        for lengths in (None, {"b": [1, 2, 3, 4, 5]}):
            plan = sampler({"a": 23, "b": 5}, ranks=ranks, rank=rank, seed=3, lengths=lengths)
            for number in range(2):
                plan.set_epoch(number)
                assert [step["a"] for step in plan] == expected[number]


@pytest.mark.parametrize("size", [1, 7, 100, 333, 1001])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_pass_by_length_reads_every_row_once(size: int, ranks: int) -> None:
    if size < ranks:
        return
    lengths = {"a": skewed(size)}
    plans = [list(sampler({"a": size}, ranks=ranks, rank=rank, lengths=lengths)) for rank in range(ranks)]
    assert Counter(row for plan in plans for step in plan for row in step["a"]) == Counter(range(size))
    plain = list(sampler({"a": size}, ranks=ranks))
    assert sorted(len(step["a"]) for step in plans[0]) == sorted(len(step["a"]) for step in plain)
    assert all(step["a"] for plan in plans for step in plan)


@pytest.mark.parametrize("options", [{}, {"shuffle": False, "sort": True}], ids=str)
def test_ranks_read_together_what_one_process_reads_by_length(options: dict[str, bool]) -> None:
    lengths = {"a": skewed(1001), "b": torch.tensor(skewed(77, seed=1))}
    sizes = {"a": 1001, "b": 77, "c": 50}
    for epoch in range(3):
        whole = sampler(sizes, batch=12, lengths=lengths, **options)
        for ranks in (2, 3, 4):
            parts = [
                sampler(sizes, batch=12 // ranks, ranks=ranks, rank=rank, lengths=lengths, **options)
                for rank in range(ranks)
            ]
            for each in (whole, *parts):
                each.set_epoch(epoch)
            for step, *ranked in zip(whole, *parts, strict=True):
                assert step == {name: [row for part in ranked for row in part[name]] for name in sizes}


def test_lengths_spare_the_padding() -> None:
    lengths = skewed()
    with_lengths = sampler({"a": 20_000}, batch=32, lengths={"a": lengths})
    for epoch in range(2):
        with_lengths.set_epoch(epoch)
        assert padding(with_lengths, lengths) < 0.1
    assert padding(sampler({"a": 20_000}, batch=32), lengths) > 0.3


def test_batches_by_length_come_in_random_order() -> None:
    """Lengths of neighbouring batches have nothing to do with each other, and every part of a pass is like the whole."""
    lengths = torch.tensor(skewed())
    plan = sampler({"a": 20_000}, batch=32, lengths={"a": lengths})
    means = torch.stack([lengths[step["a"]].double().mean() for step in plan])
    neighbours = torch.corrcoef(torch.stack([means[:-1], means[1:]]))[0, 1]
    assert abs(neighbours) < 4 / len(means) ** 0.5
    parts = torch.stack([part.mean() for part in means.tensor_split(5)])
    assert ((parts - means.mean()).abs() < 4 * means.std() / (len(means) / 5) ** 0.5).all()


def test_batches_by_length_are_new_in_every_pass_and_come_again() -> None:
    def batches(epoch: int, **options: int) -> list[frozenset[int]]:
        plan = sampler({"a": 3000}, batch=8, lengths={"a": skewed(3000)}, **options)
        plan.set_epoch(epoch)
        return [frozenset(step["a"]) for step in plan]

    assert batches(0) == batches(0)
    assert len(set(batches(0)) & set(batches(1))) < 4
    assert len(set(batches(0)) & set(batches(0, seed=1))) < 4


def test_rows_of_one_length_come_in_random_order() -> None:
    plan = sampler({"a": 1000}, batch=10, lengths={"a": [7] * 1000})
    plain = sampler({"a": 1000}, batch=10)
    assert sorted(map(tuple, (step["a"] for step in plan))) == sorted(map(tuple, (step["a"] for step in plain)))


def test_steps_by_length_that_were_taken_can_be_left_out() -> None:
    plan = sampler({"a": 200, "b": 60}, lengths={"a": skewed(200), "b": skewed(60)})
    plan.set_epoch(1)
    whole = list(plan)
    for skip in (1, 37, 99):
        plan.skip = skip
        assert list(plan) == whole[skip:]


def test_evaluation_keeps_its_order_unless_it_may_be_sorted() -> None:
    lengths = [4, 9, 4, 1, 9, 2, 4]
    options: dict[str, Any] = {"shuffle": False, "cycle": False, "lengths": {"a": lengths}}
    assert [step["a"] for step in sampler({"a": 7}, **options)] == [[0, 1], [2, 3], [4, 5], [6]]
    assert [step["a"] for step in sampler({"a": 7}, sort=True, **options)] == [[1, 4], [0, 2], [6, 5], [3]]
    assert [step["a"] for step in sampler({"a": 7}, shuffle=False, sort=True)] == [[0, 1], [2, 3], [4, 5], [6]]


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ({"b": [1, 2]}, r"`lengths` must be of sources, got 'b'; sources are \['a'\]"),
        ({"a": [1, 2]}, r"`lengths` of source 'a' must hold a number for each of its 3 rows, got shape \[2\]"),
        ({"a": torch.ones(3, 2)}, r"got shape \[3, 2\]"),
    ],
)
def test_lengths_that_do_not_fit(lengths: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sampler({"a": 3}, lengths=lengths)
