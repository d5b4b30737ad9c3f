"""Metrics of a whole run know on two processes what they know on one."""

from __future__ import annotations

from pathlib import Path

from torch.testing import assert_close

from .ranks.metrics import figures
from .test_ranks import spawn


def test_two_processes_equal_one(tmp_path: Path) -> None:
    alone = figures(None)
    for rank in spawn(tmp_path, "metrics", 2):
        assert set(rank) == set(alone)
        for name, value in rank.items():
            assert_close({name: value}, {name: alone[name]}, equal_nan=True)
    assert alone["events"].sum() > 0
    assert not alone["events"].equal(alone["events before"])
