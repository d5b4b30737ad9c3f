"""A comparison says the truth about tasks that were built to help, to hurt, or to leave each other alone."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_mtl import HardSharing, MultiTaskDataModule, MultiTaskModule, Regression, Source, Task
from lightning_mtl.comparison import Comparison, compare
from tests.conftest import TrainerMaker

SIZE = 20


def direction(seed: int, apart_from: Tensor | None = None, cosine: float = 0.0) -> Tensor:
    """Draw a direction, or one at this angle to another."""
    drawn = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
    if apart_from is None:
        return nn.functional.normalize(drawn, dim=0)
    across: Tensor = nn.functional.normalize(drawn - (drawn @ apart_from) * apart_from, dim=0)
    mixed: Tensor = cosine * apart_from + (1 - cosine**2) ** 0.5 * across
    return mixed


def source(along: Tensor, seed: int, count: int, bent: bool, noise: float) -> Source:
    """Draw rows whose number is what they have of a direction, with noise in training."""

    def part(rows: int, seed: int, noise: float) -> list[dict[str, Any]]:
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(rows, SIZE, generator=draw)
        y = x @ along + noise * torch.randn(rows, generator=draw)
        return [
            {"x": of.tolist(), "y": number.item()} for of, number in zip(x, (2 * y).tanh() if bent else y, strict=True)
        ]

    return Source({"train": part(count, seed, noise), "test": part(300, seed + 1, 0.0)})


def pair(kind: str, base: int) -> tuple[dict[str, Source], nn.Module, int]:
    """Make the sources of two tasks, the trunk that they share, and its width."""
    first = direction(base)
    match kind:
        case "helps":  # one feature; the first has few labels
            sources = source(first, base + 10, 30, True, 0.1), source(first, base + 20, 300, True, 0.1)
            width = 16
        case "hurts":  # a single feature, linear heads, and targets that pull it two ways
            other = direction(base + 1, first, cosine=0.6)
            sources = source(first, base + 10, 200, False, 0.1), source(other, base + 20, 200, False, 0.1)
            width = 1
        case _:  # two features that have nothing to do with each other, and room for both
            other = direction(base + 1, first)
            sources = source(first, base + 10, 400, False, 0.3), source(other, base + 20, 400, False, 0.3)
            width = 64
    trunk = nn.Linear(SIZE, width) if width == 1 else nn.Sequential(nn.Linear(SIZE, width), nn.Tanh())
    return dict(zip("ab", sources, strict=True)), trunk, width


def compared(kind: str, base: int, trainer: TrainerMaker) -> Comparison:
    rate, epochs = (0.05, 25) if kind == "hurts" else (0.02, 12)

    def build(names: list[str] | None) -> MultiTaskModule:
        _, trunk, width = pair(kind, base)
        tasks = [Task(name, target="y", head=Regression()) for name in names or "ab"]
        shared = HardSharing(trunk, width=width, inputs=["x"])
        return MultiTaskModule(tasks, shared, optimizer=lambda groups: torch.optim.Adam(groups, lr=rate))

    data = MultiTaskDataModule(pair(kind, base)[0], batch_size=50, summary=False)
    return compare(build, data, lambda run: trainer(max_epochs=epochs), seeds=range(base, base + 5))


def check_helps(base: int, trainer: TrainerMaker) -> None:
    found = compared("helps", base, trainer)
    few, many = found.tasks
    assert (few.verdict, found.delta_m.verdict) == ("gains", "gains")
    assert few.difference.mean > 0.1
    assert abs(many.difference.mean) < 0.02  # with labels enough there is nothing to gain


def check_hurts(base: int, trainer: TrainerMaker) -> None:
    found = compared("hurts", base, trainer)
    assert [task.verdict for task in found.tasks] == ["loses", "loses"]
    assert found.delta_m.verdict == "loses"
    # The best compromise is the direction between: the tasks keep a share (1 + cosine) / 2 of their variance.
    assert fmean(value for task in found.tasks for value in task.multi) == pytest.approx(0.8, abs=0.1)
    assert all(fmean(task.single) > 0.95 for task in found.tasks)


def test_a_task_with_few_labels_gains_by_one_that_needs_the_same_feature(trainer: TrainerMaker) -> None:
    check_helps(0, trainer)


@pytest.mark.slow
def test_tasks_that_pull_one_feature_two_ways_lose(trainer: TrainerMaker) -> None:
    check_hurts(0, trainer)


@pytest.mark.slow
@pytest.mark.parametrize("base", [100, 200, 300, 400])
def test_so_it_is_for_other_data_and_seeds(base: int, trainer: TrainerMaker) -> None:
    check_helps(base, trainer)
    check_hurts(base, trainer)


@pytest.mark.slow
def test_for_tasks_without_relation_there_is_no_evidence(trainer: TrainerMaker) -> None:
    """Of intervals of 95%, one in twenty misses: more than one of eight is not to be expected."""
    found = [task for base in (100, 200, 300, 400) for task in compared("nothing", base, trainer).tasks]
    assert Counter(task.verdict for task in found)["no evidence"] >= len(found) - 1
    assert all(abs(task.difference.mean) < 0.02 for task in found)
