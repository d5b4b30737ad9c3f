"""Sources of which a process may get a single row in a step."""

from typing import Any

import pytest

from lightning_mtl.samplers import Explicit, MultiTaskSampler, Rows

CASES: dict[str, tuple[dict[str, int], dict[str, Any], list[str]]] = {
    "batches of a source": ({"a": 100, "b": 20}, {"batches": "all"}, []),
    "a source of three rows": ({"a": 100, "b": 3}, {"batches": "all", "size": 2}, ["b"]),
    "steps of a row": ({"a": 100, "b": 20}, {"batches": "homogeneous", "size": 1}, ["a", "b"]),
    "few rows are shared by two ranks": ({"a": 100, "b": 3}, {"batches": "all", "num_replicas": 2}, ["b"]),
    "mixed": ({"a": 100, "b": 20}, {"batches": "mixed", "batch": 8}, ["a", "b"]),
    "mixed, many rows": ({"a": 100, "b": 20}, {"batches": "mixed", "batch": 64}, []),
    "mixed, one of them is rare": (
        {"a": 100, "b": 20},
        {"batches": "mixed", "batch": 64, "rule": Explicit({"a": 0.95, "b": 0.05})},
        ["b"],
    ),
    "stratified": ({"a": 100, "b": 20}, {"batches": "stratified", "batch": 8}, []),
    "stratified, one of them is rare": (
        {"a": 100, "b": 20},
        {"batches": "stratified", "batch": 8, "rule": Explicit({"a": 0.9, "b": 0.1})},
        ["b"],
    ),
    "stratified over ranks": (
        {"a": 100, "b": 20},
        {"batches": "stratified", "batch": 6, "num_replicas": 2},
        ["a", "b"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_sources_that_may_be_alone_are_named_and_the_others_never_are(case: str) -> None:
    rows, options, alone = CASES[case]
    size, rule, ranks = options.get("size", 8), options.get("rule"), options.get("num_replicas", 1)
    streams = {name: Rows(count, size * ranks, name=name, ranks=ranks) for name, count in rows.items()}
    samplers = [
        MultiTaskSampler(streams, rule, rank=rank, **{k: v for k, v in options.items() if k not in ("size", "rule")})
        for rank in range(ranks)
    ]
    assert samplers[0].lone_rows() == alone
    found = {name for sampler in samplers for plan in sampler for name, of in plan.items() if len(of) == 1}
    assert found <= set(alone)
