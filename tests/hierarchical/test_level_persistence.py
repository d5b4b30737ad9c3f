"""Hierarchies in checkpoints and folders, and what running them leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_mtl import (
    HierarchicalModule,
    HuggingFace,
    HuggingFaceLevels,
    Levels,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Source,
    Tagging,
    Task,
)
from tests.hierarchical.levels import ENCODERS, columns, folder_of, labels, module, pretrained, recurrent, tasks
from tests.models import quiet


def fed(name: str) -> list[Task]:
    low, middle, _ = tasks(name)
    top = Task("high", head=Multiclass(4), level=[1, 3] if name not in ("convolutions",) else -1, feeds_from=["low"])
    return [low, middle, top]


def other(of: Any) -> Any:
    for p in of.parameters():
        nn.init.normal_(p, std=0.1)
    return of.eval()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_folder_holds_all_of_it(name: str, tmp_path: Path) -> None:
    of = other(module(name, fed(name), tap_grad={"low": 0.5}, level_grad=0.25, feed_width=7, clip_by_depth=2.0).float())
    of.save_pretrained(tmp_path)
    again: Any = HierarchicalModule.from_pretrained(tmp_path)
    drawn = {"s": {key: value.float() if value.is_floating_point() else value for key, value in columns(name).items()}}
    with torch.no_grad():
        found, expected = again(drawn), of(drawn)
    assert all(torch.equal(found[task], expected[task]) for task in expected)
    assert again.arguments() == of.arguments()
    assert [(task.level, task.feeds_from) for task in again.tasks] == [
        (task.level, task.feeds_from) for task in of.tasks
    ]


@pytest.mark.parametrize("name", ["recurrent", "modernbert"])
def test_a_checkpoint_holds_all_of_it(name: str, tmp_path: Path) -> None:
    of = module(name, fed(name)).float()
    inputs = columns(name)
    batch = {"s": {**inputs, **labels(name, inputs, mixed=True)}}
    trainer = quiet(max_steps=2)
    trainer.fit(of, DataLoader([batch, batch, batch], batch_size=None))  # type: ignore[arg-type]
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = HierarchicalModule.load_from_checkpoint(tmp_path / "a.ckpt").eval()
    with torch.no_grad():
        found, expected = again({"s": inputs}), of.eval()({"s": inputs})
    assert all(torch.equal(found[task], expected[task]) for task in expected)


def test_the_wrong_class_says_which_is_right(tmp_path: Path) -> None:
    module("recurrent").float().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be loaded by HierarchicalModule, got MultiTaskModule"):
        MultiTaskModule.from_pretrained(tmp_path)


def test_levels_are_left_out_of_a_module_without_them() -> None:
    with pytest.raises(
        ValueError, match=r"`level` and `feeds_from` of task 'a' must be left out.*Use HierarchicalModule"
    ):
        MultiTaskModule([Task("a", head=Multiclass(2), level=1)], recurrent())


def test_without_levels_all_tasks_read_the_top() -> None:
    torch.manual_seed(1)
    plain = MultiTaskModule([Task("a", head=Multiclass(2))], recurrent())
    torch.manual_seed(1)
    of = HierarchicalModule([Task("a", head=Multiclass(2))], recurrent())
    drawn = {"s": columns("recurrent")}
    assert torch.equal(plain(drawn)["a"], of(drawn)["a"])


@pytest.mark.parametrize("name", ["recurrent", "bert", "convolutions"])
def test_a_run_leaves_the_batch_as_it_was(name: str) -> None:
    """Peers cut the rows of one task in place, and the next task then read those."""
    of = module(name)
    inputs = columns(name)
    batch = {"s": {**inputs, **labels(name, inputs, mixed=True)}}
    before = {key: value.clone() for key, value in batch["s"].items()}
    first, second = (of.run(batch).losses for _ in range(2))
    assert batch["s"].keys() == before.keys()
    assert all(torch.equal(batch["s"][key], value) for key, value in before.items())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_task_is_added_and_the_rest_stays() -> None:
    of = other(module("recurrent", fed("recurrent")).float())
    drawn = {"s": columns("recurrent")}
    before = of(drawn)
    of.add_task(Task("new", head=Tagging(3), level=2), freeze=True)
    after = of.eval()(drawn)
    assert after.keys() == before.keys() | {"new"}
    assert all(torch.equal(before[task], after[task]) for task in before)
    assert not any(p.requires_grad for p in of.encoder.parameters())


def test_a_norm_thaws_where_a_task_begins_to_read_it() -> None:
    of = module("modernbert", tasks("modernbert")[::2])
    assert [next(norm.parameters()).requires_grad for norm in of.encoder.norms.values()] == [True, False, True]
    of.add_task(Task("new", head=Tagging(3), level=2))
    assert all(p.requires_grad for p in of.encoder.parameters())


def test_an_auxiliary_task_is_trained_and_not_judged() -> None:
    rows = [
        {"words": ["a", "b"], "kind": ["x", "y"], "mood": "good"},
        {"words": ["b"], "kind": ["y"], "mood": "bad"},
    ] * 4
    others = [{"words": ["a"], "kind": ["x"], "mood": "good"}, {"words": ["b", "a"], "kind": ["y", "x"], "mood": "bad"}]
    of = HierarchicalModule([Task("kind", level=1, auxiliary=True), Task("mood")], recurrent())
    trainer = quiet(max_epochs=1)
    trainer.fit(
        of,
        MultiTaskDataModule(
            {"s": Source({"train": rows, "validation": others}, words="words")}, batch_size=4, summary=False
        ),
    )
    shown = set(trainer.callback_metrics)
    assert {"train/kind/loss", "validate/mood/accuracy", "validate/score"} <= shown
    assert not any(name.startswith("validate/kind") for name in shown)
    assert of.scores().keys() == {"mood"}
    assert set(of.predict({"words": ["a"]})) == {"kind", "mood"}


@pytest.mark.parametrize("name", ["recurrent", "bert"])
def test_a_shortcut_is_read_by_the_levels_above_the_first(name: str) -> None:
    of: Any = recurrent(shortcut=True) if name == "recurrent" else pretrained("bert", shortcut=True)
    without: Any = recurrent(shortcut=False) if name == "recurrent" else pretrained("bert")
    assert sum(p.numel() for p in of.parameters()) > sum(p.numel() for p in without.parameters())
    if name == "bert":
        nn.init.normal_(of.levels[1].shortcut.weight)
    state = of.eval().step(of.prepare(columns(name)), 1)
    changed = {
        key: value * 2 if torch.is_floating_point(value) else value for key, value in _tensors(state.context).items()
    }
    key = "words" if name == "recurrent" else "embedded"
    plain = of.step(state, 2).hidden
    state.context[key] = changed[key]
    assert not torch.equal(of.step(state, 2).hidden, plain)


def _tensors(context: Any) -> dict[str, torch.Tensor]:
    return {key: value for key, value in context.items() if isinstance(value, torch.Tensor)}


def test_what_is_frozen_stays_frozen_when_it_is_loaded(tmp_path: Path) -> None:
    of = module("bert").float()
    of.encoder.freeze(2)
    of.save_pretrained(tmp_path)
    again: Any = HierarchicalModule.from_pretrained(tmp_path)
    assert (of.encoder.frozen, again.encoder.frozen) == (2, 2)
    assert recurrent().frozen == -1


def test_dropout_above_a_frozen_level_goes_on() -> None:
    of: Any = recurrent(dropout=0.5)
    of.freeze(1)
    of.train()
    for part in of.frozen_parts():
        part.eval()
    state = of.prepare(columns("recurrent"))
    shares = []
    for level in (1, 2, 3):
        state = of.step(state, level)
        there = state.hidden[state.mask]
        shares.append(float((there == 0).float().mean()))
    assert shares[0] == 0
    assert min(shares[1:]) > 0.3


def test_factors_of_levels_are_plain_data(tmp_path: Path) -> None:
    of = module("recurrent", level_grad={1: 0.1, -2: 0.5}, tap_grad={"low": 0.0}).float()
    of.save_pretrained(tmp_path)
    again: Any = HierarchicalModule.from_pretrained(tmp_path)
    assert again.hierarchy.level_grad == of.hierarchy.level_grad == {1: 0.1, 2: 0.5, 3: 1.0}


def test_a_trunk_is_cut_once() -> None:
    trunk = HuggingFace(folder_of("bert"))
    HuggingFaceLevels(trunk)
    with pytest.raises(ValueError, match="`trunk` must be the trunk of no other encoder"):
        HuggingFaceLevels(trunk)


def test_a_module_may_stand_in_several_places() -> None:
    relu = nn.ReLU()
    trunk = nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 4), relu)
    encoder = Levels(trunk, cut=[2, 4])
    x = torch.randn(5, 3)
    assert torch.equal(encoder({"x": x}, ["a"])["a"], trunk(x))


def test_a_mask_goes_past_modules_that_do_not_read_it() -> None:
    class Embed(nn.Module):
        out_features = 4

        def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return nn.functional.one_hot(ids, 4).float(), ids != 0

    together, apart = Levels([Embed(), nn.Linear(4, 2)], cut=[2]), Levels([Embed(), nn.Linear(4, 2)])
    apart.load_state_dict({name.replace("0.1.", "1.0."): value for name, value in together.state_dict().items()})
    ids = {"ids": torch.tensor([[1, 2, 0]])}
    (a, mask), (b, other) = together(ids, ["x"])["x"], apart(ids, ["x"])["x"]
    assert torch.equal(a, b)
    assert torch.equal(mask, other)


def test_a_map_leaves_what_is_frozen_as_it_is() -> None:
    of = module("convolutions")
    of.encoder.levels[0].eval()
    of.level_map({"s": columns("convolutions")})
    assert not of.encoder.levels[0].training
    assert of.encoder.levels[1].training


@pytest.mark.parametrize("training", [True, False])
def test_a_map_counts_rows_without_labels(training: bool) -> None:
    of = module("recurrent").train(training)
    assert "?" not in of.level_map({"s": columns("recurrent")})


def test_a_probe_learns_its_mix() -> None:
    of = module(
        "recurrent", [*tasks("recurrent")[:2], Task("high", head=Multiclass(4), level=[1, 3])], tap_grad={"high": 0.0}
    )
    inputs = columns("recurrent")
    step = of.run({"s": {**inputs, "high": torch.randint(4, (9,))}})
    step.losses[0].backward()
    assert of.hierarchy.mixes["high"].logits.grad.any()
    assert all(p.grad is None for p in of.encoder.parameters())


def test_a_task_that_is_added_with_a_feed_disturbs_nobody() -> None:
    of = other(module("recurrent", [*tasks("recurrent"), Task("also", head=Tagging(3), level=1)]).float())
    drawn = {"s": columns("recurrent")}
    before = of(drawn)
    of.add_task(Task("new", head=Multiclass(3), level=2, feeds_from=["low"]), freeze=True)
    after = of.eval()(drawn)
    assert all(torch.equal(before[task], after[task]) for task in before)
    with pytest.raises(ValueError, match="at level 2, which is fed by \\['low'\\]"):
        of.add_task(Task("newer", head=Multiclass(3), level=2, feeds_from=["also"]))


def test_a_frozen_model_with_a_new_task_learns_nothing_else() -> None:
    of = module("recurrent", fed("recurrent"))
    of.add_task(Task("new", head=Multiclass(3), level=2), freeze=True)
    learns = {name.split(".")[1] for name, p in of.named_parameters() if p.requires_grad}
    assert learns == {"new"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"feed_width": True}, "`feed_width` must be a whole number"),
        ({"clip_by_depth": float("inf")}, "`clip_by_depth` must be finite and above 0"),
        ({"level_grad": {-1: 0.5, 3: 0.1}}, "`level_grad` must name each level once"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(options: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        module("recurrent", **options)


@pytest.mark.parametrize("level", [True, [1, False]])
def test_a_level_of_the_wrong_kind_is_refused(level: Any) -> None:
    with pytest.raises(ValueError, match="`level` of task 'a' must be the number or the name of a level"):
        Task("a", level=level)
