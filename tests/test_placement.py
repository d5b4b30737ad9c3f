"""Which level suits which task: on data in which the order of the tasks is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from lightning_mtl import HierarchicalModule, MultiTaskDataModule, Source, StackedRecurrent, Task
from lightning_mtl.cli import MultiTaskCLI
from lightning_mtl.placement import Placement, search_placement
from tests.models import quiet

KINDS, WORDS, LENGTH = 6, 240, 10
Row = dict[str, Any]


def sentences(count: int, seed: int) -> list[Row]:
    """Draw sentences of words of unknown kind, in which one task follows from the other.

    Every word has a kind, which has to be learned word by word: that is the low task. The high task marks a word by its kind
    and that of the word before it, so that who knows the kinds has little left to learn. The third task is noise.
    """
    draw = torch.Generator().manual_seed(seed)
    kind_of = torch.randint(KINDS, (WORDS,), generator=torch.Generator().manual_seed(0))
    mark_of = torch.randint(4, (KINDS, KINDS), generator=torch.Generator().manual_seed(1))
    words = torch.randint(WORDS, (count, LENGTH), generator=draw)
    kinds = kind_of[words]
    before = torch.cat([torch.zeros(count, 1, dtype=torch.long), kinds[:, :-1]], 1)
    noise = torch.randint(KINDS, (count, LENGTH), generator=draw)
    made = {"kind": kinds, "mark": mark_of[before, kinds], "noise": noise}
    return [
        {"words": [f"w{word}" for word in row.tolist()], **{name: of[i].tolist() for name, of in made.items()}}
        for i, row in enumerate(words)
    ]


def data(marked: int = 40) -> MultiTaskDataModule:
    """Make the data; of the training sentences only some are marked, so that the other task must help."""
    splits = {
        name: sentences(count, seed)
        for name, count, seed in (("train", 400, 2), ("validation", 100, 3), ("test", 200, 4))
    }
    for row in splits["train"][marked:]:
        row["mark"] = None
    return MultiTaskDataModule({"s": Source(splits, words="words")}, batch_size=40, seed=0, summary=False)


class Ordered(HierarchicalModule):
    """Kinds and marks of words.

    Args:
        levels: Levels of tasks that are not where they belong.
        tasks: Which tasks to train.
    """

    def __init__(self, levels: dict[str, int] | None = None, tasks: list[str] = ["kind", "mark"]) -> None:  # noqa: B006
        places: dict[str, int] = {"kind": 1, "noise": 1, "mark": 2} | (levels or {})
        encoder = StackedRecurrent(32, 2, embedding=24, buckets=2000, shortcut=False)
        super().__init__(
            [Task(name, level=places[name]) for name in tasks],
            encoder,
            optimizer=lambda groups: torch.optim.Adam(groups, lr=0.01),
        )


def trained(tasks: list[str], levels: Mapping[str, int], seed: int) -> float:
    L.seed_everything(seed, verbose=False)
    module, rows = Ordered(dict(levels), tasks), data()
    trainer = quiet(max_epochs=12)
    trainer.fit(module, rows)
    return float(trainer.test(module, rows, verbose=False)[0]["test/mark/accuracy"])


@pytest.mark.slow
def test_the_right_order_beats_the_reversed_one_and_noise_below_does_not_help() -> None:
    """Paired over four seeds."""
    seeds = range(4)
    right = [trained(["kind", "mark"], {}, seed) for seed in seeds]
    reversed_ = [trained(["kind", "mark"], {"kind": 2, "mark": 1}, seed) for seed in seeds]
    unrelated = [trained(["noise", "mark"], {}, seed) for seed in seeds]
    alone = [trained(["mark"], {}, seed) for seed in seeds]
    assert all(a > b for a, b in zip(right, reversed_, strict=True))
    assert sum(right) > sum(alone)
    assert sum(unrelated) < sum(right)
    assert sum(unrelated) <= sum(alone) + 0.04


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Placement:
    ran: list[str] = []

    def trainer(run: str) -> L.Trainer:
        ran.append(run)
        return quiet(tmp_path_factory.mktemp("runs"), max_epochs=2)

    placement = search_placement(lambda levels: Ordered(dict(levels or {})), data(), trainer, seeds=range(2))
    assert ran == [f"{arm}/seed{seed}" for arm in ("start", "kind-at-2", "mark-at-1") for seed in range(2)]
    return placement


def test_each_task_is_tried_at_each_level_with_the_same_seeds(found: Placement) -> None:
    assert [(of.task, of.level) for of in found.tried] == [("kind", 2), ("mark", 1)]
    assert all(len(of.found) == len(of.base) == 2 for of in found.tried)
    assert found.tried[0].base is found.tried[1].base
    for of in found.tried:
        values = [a[of.task].value - b[of.task].value for a, b in zip(of.found, of.base, strict=True)]
        assert of.difference.mean == pytest.approx(sum(values) / 2)


def test_the_table_names_what_suits_each_task(found: Placement, tmp_path: Path) -> None:
    text = str(found)
    lines = text.splitlines()
    assert [line.split()[:2] for line in lines[2:6]] == [["kind", "1"], ["kind", "2"], ["mark", "1"], ["mark", "2"]]
    assert "Suits: kind 1, mark 2" in text
    found.to_csv(tmp_path / "a.csv")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 4


def test_a_level_that_a_feed_forbids_is_named() -> None:
    def build(levels: Mapping[str, int] | None) -> HierarchicalModule:
        at = {"kind": 1, "mark": 2, **(levels or {})}
        tasks = [Task("kind", level=at["kind"]), Task("mark", level=at["mark"], feeds_from=["kind"])]
        return HierarchicalModule(tasks, StackedRecurrent(8, 2, buckets=300))

    made = search_placement(build, data(), lambda run: quiet(max_epochs=1, limit_train_batches=2), seeds=[0])
    assert set(made.refused) == {("kind", 2), ("mark", 1)}
    assert "not possible: `feeds_from` of task 'mark' must name tasks below level 2" in str(made)
    assert made.suits == {"kind": 1, "mark": 2}


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ({"topic": [1]}, "`levels` must name tasks that have a metric, got 'topic'"),
        ({"kind": [3]}, r"`levels\[0\]` of task 'kind' must be a whole number from 1 to 2, got 3"),
    ],
)
def test_levels_that_are_not_there_are_refused(levels: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        search_placement(lambda levels: Ordered(dict(levels or {})), data(), lambda run: quiet(), levels=levels)


def test_a_module_that_ignores_the_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="`build` must put task 'kind' at level 2, got it at 1"):
        search_placement(
            lambda levels: Ordered(), data(), lambda run: quiet(max_epochs=1, limit_train_batches=1), seeds=[0]
        )


class Sentences(MultiTaskDataModule):
    """The sentences."""

    def __init__(self) -> None:
        made = data()
        super().__init__(made.sources, batch_size=40, seed=0, summary=False)


def test_one_option_of_a_recipe_searches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["recipe"])
    args = ["--placement={kind: [2]}", "--seeds=1", "--trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path}"]
    cli = MultiTaskCLI(Ordered, Sentences, folder="runs", trainer={}, args=[*args, "--trainer.limit_train_batches=2"])
    made = cli.run()
    assert isinstance(made, Placement)
    assert [(of.task, of.level) for of in made.tried] == [("kind", 2)]
    assert "placement.csv" in capsys.readouterr().out
    assert (tmp_path / "run_0/placement.csv").exists()
