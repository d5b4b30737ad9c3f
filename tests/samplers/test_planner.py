"""Shards: what the ranks of a step read together."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_mtl.samplers import BATCHES, Batches, MultiTaskSampler, Plan, Rows, StandIn


def plans(batches: Batches, ranks: int, rank: int, **options: Any) -> list[Plan]:
    streams = {"a": Rows(24, 8, name="a", ranks=4), "b": Rows(9, 4, name="b", ranks=4)}
    return list(MultiTaskSampler(streams, batches=batches, batch=8, steps=9, num_replicas=ranks, rank=rank, **options))


@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_shards_of_all_ranks_make_the_global_batch(batches: Batches, ranks: int) -> None:
    shards = [plans(batches, ranks, rank) for rank in range(ranks)]
    for whole, *parts in zip(plans(batches, 1, 0), *shards, strict=True):
        for source, rows in whole.items():
            assert sorted(row for part in parts for row in part[source]) == sorted(rows)
        sizes = [sum(map(len, part.values())) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_a_stand_in_fills_a_source_without_rows_and_moves_nothing() -> None:
    empty, filled = (plans("mixed", 4, 3, fill=fill) for fill in (False, True))
    assert any(isinstance(rows, StandIn) for plan in filled for rows in plan.values())
    for bare, full in zip(empty, filled, strict=True):
        assert {name: rows for name, rows in full.items() if not isinstance(rows, StandIn)} == {
            name: rows for name, rows in bare.items() if rows
        }
