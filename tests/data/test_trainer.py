"""What data modules ask of the Trainer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lightning_mtl.data._trainer import last_epoch, ranks_of, reads_whole, seed_or_global


def test_without_a_trainer_one_process_reads_everything() -> None:
    assert ranks_of(None) == (0, 1)
    assert last_epoch(None) is None
    assert reads_whole(None, "validation")
    assert ranks_of(SimpleNamespace(distributed_sampler_kwargs={"num_replicas": 3, "rank": 2})) == (2, 3)


@pytest.mark.parametrize(("seed", "expected"), [(None, 7), (0, 0), (3, 3)])
def test_a_seed_of_ones_own_comes_before_the_global_one(
    seed: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert seed_or_global(seed) == expected
