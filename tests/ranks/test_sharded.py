"""Two processes that shard the parameters (FSDP2) do as one does, and their runs can be resumed and tested."""

from pathlib import Path

import pytest
from torch.testing import assert_close

from tests.ranks.sharded import CASES
from tests.ranks.test_ranks import Results, spawn


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    return spawn(tmp_path_factory.mktemp("sharded"), "sharded", 2)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_that_shard_equal_one(case: str, two: list[Results], tmp_path: Path) -> None:
    alone = CASES[case]()
    for rank in two:
        assert_close(rank[case], alone, rtol=1e-5, atol=1e-5)


def test_a_sharded_run_is_resumed_and_tested(two: list[Results]) -> None:
    for rank in two:
        assert rank["resumed"]["resumed"] == 0
        assert abs(rank["resumed"]["tested"]) < 1e-6
