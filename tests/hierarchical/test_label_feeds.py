"""What lower tasks feed to higher ones, what is given instead at first, and mixes of levels."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_mtl import (
    Binary,
    Head,
    HierarchicalModule,
    Levels,
    Multiclass,
    Multilabel,
    MultiTaskDataModule,
    Regression,
    StackedRecurrent,
    Tagging,
    Task,
)
from lightning_mtl.hierarchical import Hierarchy
from lightning_mtl.hierarchical._forward import ForwardPass
from lightning_mtl.hierarchical._label_feeds import gold, soft
from tests.builders import encoder as flat_encoder
from tests.builders import splits
from tests.conftest import TrainerMaker

SURE = 1e4
"""A logit that is a probability of one."""


def levels() -> Levels:
    torch.manual_seed(0)
    return Levels([nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Sequential(nn.Linear(6, 5), nn.Tanh())], inputs="x")


def tasks(head: Head | None = None, **options: Any) -> list[Task]:
    return [
        Task("low", target="sign", head=head or Multiclass(2), level=1),
        Task("high", target="size", head=Regression(), feeds_from=["low"], **options),
    ]


def module(head: Head | None = None, **options: Any) -> HierarchicalModule:
    torch.manual_seed(0)
    return HierarchicalModule(tasks(head), levels(), feed_width=3, **options)


# One-hot probabilities are the label's embedding


SURELY: dict[str, tuple[Callable[[], Head], Tensor, Tensor, Callable[[Tensor], Tensor]]] = {
    "binary": (Binary, torch.tensor([-SURE, SURE]), torch.tensor([0.0, 1.0]), lambda e: torch.stack([e[0], e[1]])),
    "multiclass": (
        lambda: Multiclass(3),
        SURE * torch.eye(3)[[2, 0, 1]],
        torch.tensor([2, 0, 1]),
        lambda e: torch.stack([e[2], e[0], e[1]]),
    ),
    "multilabel": (
        lambda: Multilabel(3),
        torch.tensor([[SURE, -SURE, SURE], [-SURE, -SURE, -SURE]]),
        torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        lambda e: torch.stack([e[0] + e[2], 0 * e[0]]),
    ),
    "regression": (
        Regression,
        torch.tensor([2.0, -1.5]),
        torch.tensor([2.0, -1.5]),
        lambda e: torch.stack([2 * e[0], -1.5 * e[0]]),
    ),
    "two numbers": (
        lambda: Regression(2),
        torch.tensor([[2.0, 3.0]]),
        torch.tensor([[2.0, 3.0]]),
        lambda e: (2 * e[0] + 3 * e[1]).unsqueeze(0),
    ),
    "tagging": (
        lambda: Tagging(3),
        SURE * torch.eye(3)[torch.tensor([[1, 2], [0, 0]])],
        torch.tensor([[1, 2], [0, 0]]),
        lambda e: torch.stack([torch.stack([e[1], e[2]]), torch.stack([e[0], e[0]])]),
    ),
}
"""Heads, predictions that are sure of something, labels that say the same, and what these are in embeddings."""


@pytest.mark.parametrize("kind", SURELY)
def test_a_sure_prediction_feeds_the_embedding_of_its_label(kind: str) -> None:
    make, prediction, target, expected = SURELY[kind]
    head = make()
    head.build(6)
    of = Hierarchy(tasks(head), StackedRecurrent(6, levels=2, buckets=10), feed_width=4)
    of.build({"low": head})
    embed = of.embeddings["low"]
    wanted = expected(embed.weight)  # type: ignore[arg-type]
    assert_close(embed(soft(head, prediction)), wanted)
    labels, known = gold(head, target)
    assert bool(known.all())
    assert_close(embed(labels), wanted)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "tagging"])
def test_what_is_unsure_feeds_the_mean_of_the_embeddings(kind: str) -> None:
    head = SURELY[kind][0]()
    head.build(6)
    logits = torch.randn(7) if kind == "binary" else torch.randn(7, 3)
    if kind == "tagging":
        logits = torch.randn(7, 2, 3)
    found = soft(head, logits)
    assert_close(found.sum(-1), torch.ones(found.shape[:-1]))
    expected = torch.stack([1 - logits.sigmoid(), logits.sigmoid()], -1) if kind == "binary" else logits.softmax(-1)
    assert_close(found, expected)


MISSING: dict[str, tuple[Callable[[], Head], Tensor, list[bool]]] = {
    "binary": (Binary, torch.tensor([1, -100]), [True, False]),
    "multiclass": (lambda: Multiclass(3), torch.tensor([-100, 2]), [False, True]),
    "regression": (Regression, torch.tensor([float("nan"), 2.0]), [False, True]),
    "tagging": (lambda: Tagging(3), torch.tensor([[-100, 2]]), [False, True]),
}


@pytest.mark.parametrize("kind", MISSING)
def test_labels_that_are_missing_are_not_known(kind: str) -> None:
    make, target, expected = MISSING[kind]
    values, known = gold(make(), target)
    assert bool(values.isfinite().all())
    assert known.flatten().tolist() == expected
    assert known.shape == (*target.shape, 1)


# Labels in place of predictions


def fed(of: HierarchicalModule, share: float, target: Tensor) -> Tensor:
    """Give what the task at level 1 feeds to level 2."""
    x = torch.randn(len(target), 4, generator=torch.Generator().manual_seed(3))
    forward = ForwardPass(
        of.hierarchy, of.encoder, of.heads._modules, {"x": x}, [0, 1], targets={0: target}, share=share
    )
    forward.run()
    return forward._fed(0)


@pytest.mark.parametrize("share", [1.0, 0.75, 0.25, 0.0])
def test_what_is_fed_lies_between_label_and_prediction(share: float) -> None:
    of, target = module(), torch.tensor([1, 0, -100, 1])
    embedding: Any = of.hierarchy.embeddings["low"]
    predicted = fed(of, 0.0, target)
    given = torch.stack([embedding.weight[max(label, 0)] for label in target.tolist()])
    mixed = share * given + (1 - share) * predicted
    known = (target >= 0).unsqueeze(-1)
    assert_close(fed(of, share, target), torch.where(known, mixed, predicted))
    if share == 1:
        assert torch.equal(fed(of, share, target)[known[:, 0]], given[known[:, 0]])


def test_the_share_of_labels_falls_in_a_line() -> None:
    of = module(gold_steps=8).hierarchy
    assert [of.gold_share(step) for step in (0, 2, 4, 6, 8, 100)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [module().hierarchy.gold_share(step) for step in (0, 5)] == [0.0, 0.0]


def test_a_run_feeds_labels_first_and_predictions_later(trainer: TrainerMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    made, shares = module(gold_steps=4), []
    climbing = ForwardPass.__init__

    def noted(self: ForwardPass, *args: Any, **options: Any) -> None:
        climbing(self, *args, **options)
        shares.append((made.training, self.share, bool(self.targets)))

    monkeypatch.setattr(ForwardPass, "__init__", noted)
    run = trainer(num_sanity_val_steps=0)
    run.fit(made, MultiTaskDataModule({"s": splits(48)}, batch_size=8, summary=False))
    assert [share for training, share, _ in shares if training] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [there for training, _, there in shares if training] == [True] * 4 + [False] * 2
    assert {share for training, share, _ in shares if not training} == {0.0}


@pytest.mark.parametrize("detach", [True, False])
def test_lower_tasks_learn_from_what_they_feed_unless_it_is_detached(detach: bool) -> None:
    of = module(detach_feeds=detach)
    x = torch.randn(5, 4)
    of({"s": {"x": x}}, ["high"])["high"].sum().backward()
    assert any(p.grad is not None for p in of.heads["low"].parameters()) is not detach
    assert of.hierarchy.embeddings["low"].weight.grad is not None
    assert of.moved_by(1) == ({1} if detach else {0, 1})


# Mixes


def mixed() -> HierarchicalModule:
    torch.manual_seed(0)
    trunk = [nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(3)]
    both = [
        Task("low", target="sign", head=Multiclass(2), level=1),
        Task("high", target="size", head=Regression(), level=[1, -1]),
    ]
    return HierarchicalModule(both, Levels(trunk, inputs="x"), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.5))


def test_weights_of_a_mix_are_read_and_learned(trainer: TrainerMaker) -> None:
    made = mixed()
    assert made.mix("high") == {1: 0.5, 3: 0.5}
    mix = made.hierarchy.mixes["high"]
    trainer().fit(made, MultiTaskDataModule({"s": splits(48)}, batch_size=8, summary=False))
    learned = made.mix("high")
    assert list(learned) == [1, 3]
    assert sum(learned.values()) == pytest.approx(1)
    assert learned[1] != 0.5
    assert mix.factor.item() != 1  # type: ignore[operator]


def test_a_mix_is_the_weighed_mean_times_a_factor() -> None:
    made, x = mixed(), torch.randn(5, 4)
    mix: Any = made.hierarchy.mixes["high"]
    with torch.no_grad():
        mix.logits.copy_(torch.tensor([1.0, -0.5]))
        mix.factor.fill_(1.7)
    low = made.encoder.levels[0](x)
    top = made.encoder.levels[2](made.encoder.levels[1](low))
    share = torch.tensor(1.5).sigmoid()
    expected = made.heads["high"](1.7 * (share * low + (1 - share) * top))
    assert_close(made({"s": {"x": x}}, ["high"])["high"], expected)
    assert made.mix("high")[1] == pytest.approx(float(share))


# What is refused


def two(**options: Any) -> HierarchicalModule:
    return HierarchicalModule(tasks(), levels(), **options)


def of_tasks(*made: Task) -> HierarchicalModule:
    return HierarchicalModule(made, levels())


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no mix": (lambda: mixed().mix("low"), "`task` must have several levels, got 'low'"),
    "width of feeds": (
        lambda: two(feed_width=0),
        "`feed_width` must be a whole number of at least 1, got 0. It is the size of a label's",
    ),
    "steps of labels": (
        lambda: two(gold_steps=-1),
        "`gold_steps` must be a whole number of at least 0, got -1. 0 feeds predictions",
    ),
    "a level that is not": (
        lambda: of_tasks(Task("low", head=Binary(), level=3)),
        "Task 'low': `level` must be a number from 1 to 2, or -1 to -2 from the top, got 3.",
    ),
    "level zero": (
        lambda: of_tasks(Task("low", head=Binary(), level=0)),
        "Task 'low': `level` must be a number from 1 to 2, or -1 to -2 from the top, got 0.",
    ),
    "a mix of widths": (
        lambda: of_tasks(Task("low", head=Binary(), level=[1, 2])),
        "`level` of task 'low' must name levels of one width, got [1, 2] of widths [6, 5]. Name one level.",
    ),
    "a feed that is no task": (
        lambda: of_tasks(Task("high", head=Binary(), feeds_from=["low"])),
        "`feeds_from` of task 'high' must name tasks, got 'low'; tasks are ['high'].",
    ),
    "a feed from above": (
        lambda: of_tasks(Task("low", head=Binary(), level=1, feeds_from=["high"]), Task("high", head=Binary())),
        "`feeds_from` of task 'low' must name tasks below level 1, got 'high' at level 2. Give it a lower level, or 'low' a higher",
    ),
    "no level": (lambda: StackedRecurrent(levels=0), "`levels` must be a whole number of at least 1, got 0."),
    "widths of other levels": (
        lambda: Levels([nn.Linear(4, 4)], widths=[4, 4]),
        "`widths` and `stages` must be one for each of 1 levels, got (4, 4) and ().",
    ),
    "an odd width": (lambda: StackedRecurrent(7), "`width` must be even, half for each direction, got 7. Add one."),
    "a cut in no module": (
        lambda: Levels([nn.Linear(4, 4)], cut=["x"]),
        "`cut` must name modules of the trunk, ['0'], or count them from 1 to 1, got 'x'.",
    ),
    "a cut below the top": (
        lambda: Levels([nn.Linear(4, 4), nn.Linear(4, 4)], cut=[1]),
        "`cut` must rise and end at the last module",
    ),
    "an unknown width": (
        lambda: Levels([nn.Flatten()]),
        "`widths` must be given, since the size of the features of level 1",
    ),
    "a column that is not": (
        lambda: Levels([nn.Linear(4, 4)], inputs="y").prepare({"x": torch.ones(1, 4)}),
        "`inputs` must name a column of the batch, got 'y'; columns are ['x']. Name one: Levels(..., inputs='x').",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_answered_with_the_rule(name: str) -> None:
    make, says = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(says)):
        make()


def test_a_feed_into_the_data_is_refused() -> None:
    trunk = levels()
    with pytest.raises(
        ValueError, match=r"Tasks must feed a level above the first of `Levels`, whose input is the data\."
    ):
        trunk.entrance(1)


def test_an_encoder_without_levels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user's run checks no types
    shared: Any = flat_encoder()
    with pytest.raises(TypeError, match=r"`encoder` must be a LevelledEncoder, got HardSharing"):
        HierarchicalModule(tasks(), shared)
