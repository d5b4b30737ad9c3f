"""A run that was interrupted and resumed ends as the unbroken one: the same examples in the same order, the same weights."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_mtl.data import MultiTaskLoader
from lightning_mtl.samplers import LAG, Flow, MultiTaskSampler, Uniform
from tests import ROOT
from tests.resume.rules import RULES
from tests.resume.run import EPOCHS, EVERY, ROWS, STEPS, WITHIN, Case, Ran, Watch, checkpoint, train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:You requested to overfit"),
    pytest.mark.filterwarnings("ignore:No batch of the first epoch had labels"),
]

Whole = Callable[..., tuple[Ran, Path]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Train a case unbroken, once for all tests, and tell where its checkpoints are."""
    kept: dict[str, tuple[Ran, Path]] = {}

    def make(case: Case, **options: Any) -> tuple[Ran, Path]:
        key = f"{case} {options}"
        if key not in kept:
            folder = tmp_path_factory.mktemp("whole")
            kept[key] = train(case, folder, seed=1, **options), folder
        return kept[key]

    return make


def going_on(case: Case, saved: Path, folder: Path, **options: Any) -> Ran:
    """Resume in a run of another seed: all that counts is in the checkpoint."""
    return train(case, folder, seed=9, resume=saved, **options)


# Saved and resumed


FEW = {("homogeneous", "dynamic"), ("stratified", "dynamic"), ("mixed", "dynamic"), ("phased", "annealed")}
WITHIN_EPOCHS = [
    pytest.param(Case(kind=kind, rule=rule), id=f"{kind}-{rule}", marks=[] if (kind, rule) in FEW else pytest.mark.slow)
    for kind, rule in RULES
]


@pytest.mark.parametrize("case", WITHIN_EPOCHS)
def test_a_run_saved_within_an_epoch_goes_on(case: Case, whole: Whole, tmp_path: Path) -> None:
    unbroken, folder = whole(case)
    assert going_on(case, checkpoint(folder, WITHIN), tmp_path).equals(unbroken, WITHIN)
    assert len(unbroken.steps) == EPOCHS * STEPS
    changes = len({tuple(step["rates"]) for step in unbroken.steps}) > 1
    assert changes == (case.rule != "static" or case.kind == "phased")


def test_another_seed_is_another_run(whole: Whole, tmp_path: Path) -> None:
    case = Case()
    unbroken, _ = whole(case)
    other = train(case, tmp_path, seed=2)
    assert other.read != unbroken.read
    assert not other.equals(unbroken, 0)


@pytest.mark.parametrize(
    ("before", "after", "data", "scheduled"), [(0, 2, "rows", True), (2, 0, "rows", False), (2, 0, "stream", True)]
)
def test_workers_may_come_and_go(
    before: int, after: int, data: str, scheduled: bool, whole: Whole, tmp_path: Path
) -> None:
    case = Case(workers=before, rule="dynamic", data=data, scheduled=scheduled)
    unbroken, folder = whole(case)
    assert going_on(replace(case, workers=after), checkpoint(folder, WITHIN), tmp_path).equals(unbroken, WITHIN)


AT_THE_END: dict[str, dict[str, Any]] = {
    "after validation": {"every_n_epochs": 1},
    "after the epoch": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
    "before validation": {"every_n_train_steps": STEPS},
}


@pytest.mark.parametrize(("when", "reload"), [*((when, 0) for when in AT_THE_END), ("before validation", 1)])
def test_a_run_saved_at_the_end_of_an_epoch_goes_on(when: str, reload: int, whole: Whole, tmp_path: Path) -> None:
    case, keep = Case(rule="dynamic"), {**AT_THE_END[when], "save_top_k": -1, "filename": "{step}"}
    options: dict[str, Any] = {"keep": keep, "reload_dataloaders_every_n_epochs": reload}
    unbroken, folder = whole(case, **options)
    assert going_on(case, checkpoint(folder, STEPS), tmp_path, **options).equals(unbroken, STEPS)


OPTIONS: dict[str, tuple[dict[str, Any], int]] = {
    "a part of the batches": ({"limit_train_batches": 20}, EPOCHS * 20),
    "a share of the batches": ({"limit_train_batches": 0.7}, EPOCHS * 16),
    "new loaders": ({"reload_dataloaders_every_n_epochs": 1}, EPOCHS * STEPS),
    "the same batches in every epoch": ({"overfit_batches": 10, "val_check_interval": 1.0, "max_epochs": 7}, 70),
    "a number of steps": ({"max_steps": 60, "max_epochs": -1}, 60),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_the_trainer_keep_the_place(name: str, whole: Whole, tmp_path: Path) -> None:
    options, steps = OPTIONS[name]
    case = Case(
        rule="annealed" if "overfit_batches" in options else "dynamic"
    )  # a rule that follows the run is refused there
    unbroken, folder = whole(case, **options)
    assert len(unbroken.steps) == steps
    assert going_on(case, checkpoint(folder, WITHIN), tmp_path, **options).equals(unbroken, WITHIN)


def test_accumulated_gradients_keep_the_place(whole: Whole, tmp_path: Path) -> None:
    case = Case(kind="mixed", rule="dynamic")
    options = {
        "accumulate_grad_batches": 4,
        "keep": {"every_n_train_steps": 5, "save_top_k": -1, "filename": "{step}"},
    }
    unbroken, folder = whole(case, **options)
    assert going_on(case, checkpoint(folder, 10), tmp_path, **options).equals(unbroken, 4 * 10)


def test_the_first_epoch_of_a_resumed_run_shows_training_metrics(whole: Whole, tmp_path: Path) -> None:
    shown: list[set[str]] = []

    class Shown(Watch):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            shown.append({name for name in trainer.callback_metrics if name.startswith("train/")})

    case = Case(kind="stratified")
    options: dict[str, Any] = {"max_epochs": 2, "log_every_n_steps": 1000}
    train(case, tmp_path / "whole", seed=1, watch=Shown(), **options)
    going_on(case, checkpoint(tmp_path / "whole", WITHIN), tmp_path / "resumed", watch=Shown(), **options)
    assert shown[0] == shown[1]
    assert "train/a/accuracy" in shown[0]


# What changed in between


def test_a_run_under_another_rule_reads_each_source_on(whole: Whole, tmp_path: Path) -> None:
    case = Case()
    unbroken, folder = whole(case)
    with pytest.warns(
        UserWarning, match=r"continues by Uniform\(\); it was saved under Temperature\(temperature=2.0, cap=None\)"
    ):
        resumed = going_on(case, checkpoint(folder, WITHIN), tmp_path, rule=Uniform())
    assert {tuple(step["rates"]) for step in resumed.steps} == {(1 / 3, 1 / 3, 1 / 3)}
    for name, count in ROWS.items():
        read = [row for step in unbroken.read[:WITHIN] + resumed.read for row in step.get(name, [])]
        passes = [read[start : start + count] for start in range(0, len(read) - count + 1, count)]
        assert len(passes) > 1
        assert all(sorted(of) == list(range(count)) for of in passes)


@pytest.mark.parametrize(
    ("changed", "options", "says"),
    [
        (
            {"data": "fewer"},
            {},
            r"same sources .* got {'a': 60, 'b': 34, 'c': 23} today and {'a': 61, 'b': 34, 'c': 23} in the checkpoint",
        ),
        (
            {"data": "turned"},
            {},
            r"same sources .* got {'c': 23, 'b': 34, 'a': 61} today and {'a': 61, 'b': 34, 'c': 23}",
        ),
        (
            {"data": "stream"},
            {},
            r"same kinds of sources .* got {'a': 'Flow', 'b': 'Flow', 'c': 'Rows'} today and {'a': 'Rows'",
        ),
        ({"kind": "mixed"}, {}, "same batches .* got mixed today and homogeneous in the checkpoint"),
        (
            {},
            {"batch_size": 6},
            r"same global batches of a pass .* got {'a': 11, .*} today and {'a': 6, .*} in the checkpoint",
        ),
    ],
)
def test_other_data_are_refused(
    changed: dict[str, Any], options: dict[str, Any], says: str, whole: Whole, tmp_path: Path
) -> None:
    _, folder = whole(Case())
    with pytest.raises(ValueError, match=says):
        going_on(replace(Case(), **changed), checkpoint(folder, WITHIN), tmp_path, data=options)


@pytest.mark.parametrize("own", [False, True])
def test_a_stream_of_each_rank_is_resumed_on_as_many_ranks(own: bool) -> None:
    def loader(ranks: int) -> MultiTaskLoader:
        streams = {"s": Flow([{"x": 0.0}] * 8, 2, size=8, own=own)}
        return MultiTaskLoader({}, {}, MultiTaskSampler(streams, steps=4, num_replicas=ranks, rank=ranks - 1))

    state = loader(1).state_dict()
    if own:
        with pytest.raises(
            ValueError, match="must be resumed on as many processes, got 2 today and 1 in the checkpoint"
        ):
            loader(2).load_state_dict(state)
    else:
        loader(2).load_state_dict(state)


# Killed


DESIGN = [
    Case(2, 2, "homogeneous", "dynamic", "rows", True),
    Case(1, 0, "mixed", "annealed", "stream", True),
    Case(1, 0, "homogeneous", "static", "rows", False),
    Case(2, 0, "homogeneous", "annealed", "stream", True),
    Case(2, 2, "stratified", "static", "rows", False),
    Case(1, 2, "stratified", "annealed", "rows", False),
    Case(2, 0, "stratified", "dynamic", "stream", True),
    Case(2, 2, "mixed", "static", "stream", False),
    Case(1, 2, "mixed", "dynamic", "rows", False),
    Case(2, 2, "phased", "static", "rows", True),
    Case(1, 0, "phased", "annealed", "stream", False),
    Case(1, 2, "phased", "dynamic", "stream", False),
]
"""Runs in which every two ways to train meet; the first two are in the suite."""


def killed_at(case: Case) -> int:
    """Draw the step within which a run dies."""
    return random.Random(str(case)).randrange(WITHIN, EPOCHS * STEPS)


def test_every_two_ways_to_train_meet() -> None:
    ways = [[getattr(case, field.name) for case in DESIGN] for field in fields(Case)]
    for these, those in combinations(ways, 2):
        assert {*zip(these, those, strict=True)} == {(one, other) for one in these for other in those}
    assert {(case.kind, case.rule) for case in DESIGN} == set(RULES)


def test_runs_die_between_two_checkpoints() -> None:
    between = [killed_at(case) % EVERY for case in DESIGN]
    assert all(between[:2])
    assert len(set(between)) > 3


def start(case: Case, folder: Path) -> None:
    """Run a case in processes of its own, which are killed, and others, which go on."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--max-restarts=1", f"--nproc-per-node={case.ranks}"]
    given = json.dumps({"case": asdict(case), "step": killed_at(case), "seed": 1})
    done = subprocess.run(
        [sys.executable, *(torchrun if case.ranks > 1 else []), "-m", "tests.resume.run", str(folder), given],
        cwd=ROOT,
        # Ranks that are started once more must not find the addresses of the dead ones (pytorch/pytorch#135712).
        env={**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def together(ranks: Sequence[Ran]) -> list[dict[str, list[int]]]:
    """Bring together the rows that the ranks read in each step."""
    steps = zip(*(of.read for of in ranks), strict=True)
    return [{name: sorted(row for part in step for row in part.get(name, [])) for name in ROWS} for step in steps]


def same_rows(resumed: Sequence[Ran], whole: Sequence[Ran], steps: int) -> bool:
    """Say whether runs on different numbers of ranks read the same rows in as many steps after the resume."""
    return together(resumed)[:steps] == together(whole)[WITHIN:][:steps]


def results(name: str, case: Case, folder: Path) -> list[Ran]:
    """Read what each rank wrote of a run."""
    return [Ran(**torch.load(folder / f"{name}{rank}.pt")) for rank in range(case.ranks)]


@pytest.mark.filterwarnings("ignore:Exp3S goes on with 1 processes", "ignore:Random numbers of training")
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=str(case), marks=[] if i < 2 else pytest.mark.slow) for i, case in enumerate(DESIGN)]
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(case: Case, tmp_path: Path) -> None:
    step, alone = killed_at(case), replace(case, ranks=1)
    others = [train(alone, tmp_path / "others", seed=1)] if case.ranks > 1 and case.data == "rows" else []
    start(case, tmp_path)
    whole, other, resumed = (results(name, case, tmp_path) for name in ("whole", "other", "resumed"))
    for rank in range(case.ranks):
        done = [json.loads(line) for line in (tmp_path / f"killed{rank}.jsonl").read_text().splitlines()]
        assert done == whole[rank].steps[:step]
        assert resumed[rank].equals(whole[rank], step // EVERY * EVERY)
        assert other[rank].read != whole[rank].read[:STEPS]
    if others:
        # Dropout differs between one process and two, and with it new rates of a dynamic rule, which hold from `LAG` steps on.
        few = LAG if case.rule == "dynamic" else EPOCHS * STEPS
        from_two = going_on(alone, checkpoint(tmp_path / "whole", WITHIN), tmp_path / "alone")
        assert same_rows([from_two], whole, few)
        assert same_rows(results("from others", case, tmp_path), others, few)
