"""Levels: what is skipped changes nothing, and what is fed, mixed and cut off is what it should be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AutoModel

from lightning_mtl import HierarchicalModule, HuggingFace, HuggingFaceLevels, LevelledEncoder, Multiclass, Tagging, Task
from lightning_mtl.encoders import State
from lightning_mtl.hierarchical import level_work
from lightning_mtl.hierarchical._forward import ForwardPass
from tests.hierarchical.levels import ENCODERS, columns, folder_of, labels, module, recurrent, tasks

Batch = dict[str, dict[str, Any]]
EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def batch(name: str, *, mixed: bool, rows: int = 9) -> Batch:
    torch.manual_seed(2)
    inputs = columns(name, rows)
    return {"s": {**inputs, **labels(name, inputs, mixed=mixed)}}


def by_hand(of: Any, columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """Run all rows through all levels, and add up the loss of each task over what has a label."""
    names = [task.name for task in of.tasks]
    state = of.encoder.prepare({name: column for name, column in columns.items() if name not in names})
    losses = {}
    for level, name in enumerate(names, 1):
        state = of.encoder.step(state, level)
        features = of.encoder.tap(state, level)
        answer = of.heads[name](*features) if isinstance(features, tuple) else of.heads[name](features)
        target = columns[name]
        there = target >= 0
        binary = answer.ndim == target.ndim
        loss = F.binary_cross_entropy_with_logits if binary else F.cross_entropy
        losses[name] = loss(answer[there], target[there].double() if binary else target[there])
    return losses


def back(losses: Iterable[Tensor]) -> None:
    total: Any = sum(losses)
    total.backward()


def gradients(of: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in of.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("mixed", [False, True], ids=["all labels", "levels mixed"])
@pytest.mark.parametrize("name", ENCODERS)
def test_losses_and_gradients_are_those_of_the_full_run(name: str, mixed: bool) -> None:
    of, whole = module(name), module(name)
    drawn = batch(name, mixed=mixed)
    step = of.run(drawn)
    expected = by_hand(whole, drawn["s"])
    for task, loss in zip(step.tasks, step.losses, strict=True):
        assert_close(loss, expected[of.tasks[task].name], **EXACT)
    back(step.losses)
    back(expected.values())
    found, wanted = gradients(of), gradients(whole)
    assert found.keys() == wanted.keys()
    for parameter in wanted:
        assert_close(found[parameter], wanted[parameter], **EXACT)


@pytest.mark.parametrize("top", [1, 2])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_batch_that_ends_low_is_bit_equal_and_runs_nothing_above(name: str, top: int) -> None:
    of, whole = module(name), module(name)
    drawn = batch(name, mixed=False)
    for task in ("low", "middle", "high")[top:]:
        del drawn["s"][task]
    for level in of.encoder.levels[top:]:
        level.register_forward_hook(lambda *_: pytest.fail("a level was run that no task needs"))
    step = of.run(drawn)
    expected = by_hand(whole, batch(name, mixed=False)["s"])
    losses = {of.tasks[i].name: loss for i, loss in zip(step.tasks, step.losses, strict=True)}
    assert losses.keys() == {"low", "middle"} - ({"middle"} if top == 1 else set())
    back(losses.values())
    back(expected[task] for task in losses)
    for task, loss in losses.items():
        assert torch.equal(loss, expected[task])
    found, wanted = gradients(of), gradients(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[parameter], wanted[parameter]) for parameter in wanted)


def rows_at_each_level(of: Any, drawn: Batch) -> list[int]:
    seen: list[int] = []

    def step(state: Any, level: int, extra: Tensor | None = None) -> Any:
        seen.append(len(state.hidden))
        return type(of.encoder).step(of.encoder, state, level, extra)

    of.encoder.step = step
    of.run(drawn)
    return seen


@pytest.mark.parametrize("name", ENCODERS)
def test_rows_drop_out_as_a_batch_rises(name: str) -> None:
    # Rows 0, 3, 6 end at level 1; 1, 7 at 2; row 4 has labels at 2 and 3.
    assert rows_at_each_level(module(name), batch(name, mixed=True)) == [9, 6, 4]


def test_rows_that_feed_a_level_rise_to_it_alone() -> None:
    made = [Task("low", head=Tagging(5), level=1), Task("high", head=Multiclass(4), feeds_from=["low"])]
    of = module("recurrent", made)
    drawn = batch("recurrent", mixed=True)
    del drawn["s"]["middle"]
    assert rows_at_each_level(of, drawn) == [7, 4, 4]  # two rows have no label at all


@pytest.mark.parametrize("name", ["recurrent", "bert"])
def test_feeds_of_fewer_rows_are_those_of_all(name: str) -> None:
    made = [
        Task("low", head=Tagging(5), level=1),
        Task("middle", head=Multiclass(3), level=2),
        Task("high", head=Multiclass(4), feeds_from=["low", "middle"]),
    ]
    of = module(name, made)
    for join in of.hierarchy.joins.values():
        nn.init.normal_(join.weight)
    drawn = batch(name, mixed=True)
    losses = [loss.item() for loss in of.run(drawn).losses]
    of.hierarchy.rows = lambda *_: {}
    assert losses == pytest.approx([loss.item() for loss in of.run(drawn).losses], rel=1e-12)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_mix_of_levels_is_that_of_the_full_run(mixed: bool) -> None:
    of = module("recurrent", [*tasks("recurrent")[:2], Task("high", head=Multiclass(4), level=[1, 2, 3])])
    mix = of.hierarchy.mixes["high"]
    nn.init.normal_(mix.logits)
    drawn = batch("recurrent", mixed=mixed)
    found = dict(zip(("low", "middle", "high"), of.run(drawn).losses, strict=True))["high"]
    state, levels = of.encoder.prepare({"input_ids": drawn["s"]["input_ids"]}), []
    for level in (1, 2, 3):
        state = of.encoder.step(state, level)
        levels.append(state.hidden)
    weights = mix.logits.softmax(0)
    mixed_features = sum(w * h for w, h in zip(weights, levels, strict=True))
    answer = of.heads["high"](mixed_features, state.mask)
    assert_close(found, F.cross_entropy(answer, drawn["s"]["high"]), **EXACT)
    assert of.mix("high") == pytest.approx(dict(zip((1, 2, 3), weights.tolist(), strict=True)))


def test_dropout_drops_the_same_share_of_rows_that_rise() -> None:
    """Early exit draws other numbers, of the same distribution."""
    torch.manual_seed(3)
    of: Any = HierarchicalModule(tasks("recurrent"), recurrent(dropout=0.4))
    drawn = batch("recurrent", mixed=True)
    counts: dict[bool, list[Tensor]] = {True: [], False: []}
    plan = of.hierarchy.rows
    for drops, found in counts.items():
        of.hierarchy.rows = plan if drops else (lambda *_: {})
        for _ in range(300):
            found.append(of.run(drawn).losses[2].detach())
    means = [torch.stack(found).mean() for found in counts.values()]
    errors = [torch.stack(found).std() / 300**0.5 for found in counts.values()]
    assert abs(means[0] - means[1]) < 4 * torch.stack(errors).norm()


def test_a_zero_feed_leaves_a_pretrained_encoder_unchanged() -> None:
    made = [Task("low", head=Tagging(5), level=1), Task("high", head=Multiclass(4), feeds_from=["low"])]
    of, plain = (
        module("roberta", made),
        module("roberta", [Task("low", head=Tagging(5), level=1), Task("high", head=Multiclass(4))]),
    )
    drawn = {"s": columns("roberta")}
    for parts in (of, plain):
        parts.eval()
    for head in ("low", "high"):
        of.heads[head].load_state_dict(plain.heads[head].state_dict())
    found, expected = of(drawn), plain(drawn)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_the_levels_give_what_the_whole_model_gives(family: str) -> None:
    of = ENCODERS[family]().eval()
    inputs = columns(family)
    with torch.no_grad():
        found = of(inputs, ["a"])["a"]
        expected = AutoModel.from_pretrained(folder_of(family)).eval()(**inputs).last_hidden_state
    there = inputs["attention_mask"].bool()
    assert_close(found[0][there], expected[there], rtol=1e-5, atol=1e-5)


def test_only_what_a_task_needs_is_run() -> None:
    made = [
        Task("low", head=Tagging(5), level=1),
        Task("other", head=Tagging(3), level=1),
        Task("high", head=Multiclass(4), level=2, feeds_from=["low"]),
    ]
    of = module("recurrent", made)
    of.heads["other"].register_forward_hook(lambda *_: pytest.fail("nobody needs it"))
    of.encoder.levels[2].register_forward_hook(lambda *_: pytest.fail("nobody needs it"))
    assert of({"s": columns("recurrent")}, ["high"]).keys() == {"high"}


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_exported_is_cut_off_above(name: str) -> None:
    low, _, high = tasks(name)
    made = [low, Task("middle", head=Multiclass(3), level=2, feeds_from=["low"]), high]
    of = module(name, made).eval()
    drawn = columns(name)
    alone = of.export(["middle"])
    assert len(alone.encoder.levels) == 2
    assert "high" not in alone.heads
    expected = of.heads["middle"].predict(of({"s": drawn}, ["middle"])["middle"])
    assert_close(alone(drawn)["middle"], expected, **EXACT)
    assert sum(p.numel() for p in alone.parameters()) < sum(p.numel() for p in of.parameters())


def test_an_idle_head_does_not_move_under_weight_decay() -> None:
    of = module("recurrent")
    drawn = batch("recurrent", mixed=False)
    del drawn["s"]["high"]
    before = {name: p.detach().clone() for name, p in of.named_parameters()}
    optimizer = torch.optim.AdamW(of.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        back(of.run(drawn).losses)
        optimizer.step()
    idle = [name for name in before if name.startswith(("heads.high", "encoder.levels.2"))]
    assert idle
    assert all(torch.equal(before[name], p) for name, p in of.named_parameters() if name in idle)
    assert all(
        not torch.equal(before[name], p) for name, p in of.named_parameters() if name not in idle and p.grad is not None
    )


class Scripted(LevelledEncoder):
    """Levels whose features are the number of the level."""

    def __init__(self) -> None:
        super().__init__([nn.Identity() for _ in range(3)], [2, 2, 2], ["words", "phrases", "meaning"])

    def prepare(self, inputs: dict[str, Any]) -> Any:
        return State(inputs["x"] * 0)

    def step(self, state: Any, level: int, extra: Tensor | None = None) -> Any:
        return State(state.hidden + 1)


@pytest.mark.parametrize(
    ("level", "expected"), [(1, 1), (-1, 3), (-3, 1), ("phrases", 2), ("meaning", 3), (["words", -1], 2)]
)
def test_a_level_is_a_number_or_a_name_or_several(level: Any, expected: float) -> None:
    of = HierarchicalModule([Task("a", head=Multiclass(2, layers=nn.Identity()), level=level)], Scripted())
    assert of({"s": {"x": torch.ones(1, 2)}})["a"].mean().item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ([Task("a", level=4)], "Task 'a': `level` must be a number from 1 to 3.*names.*got 4"),
        ([Task("a", level="top")], "Task 'a': `level` must be .*got 'top'"),
        ([Task("a", level=0)], "got 0"),
        ([Task("a", level=1, feeds_from=["b"]), Task("b")], "must name tasks below level 1, got 'b' at level 3"),
        ([Task("a", feeds_from=["b"]), Task("b", feeds_from=["a"])], "must name tasks below level 3"),
        ([Task("a", feeds_from=["c"])], "must name tasks, got 'c'"),
    ],
)
def test_a_map_that_cannot_be_is_refused(made: list[Task], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        HierarchicalModule(made, Scripted())


def test_the_map_says_who_sits_where() -> None:
    made = [Task("high", head=Multiclass(4), feeds_from=["low"]), Task("low", head=Tagging(5), level=1)]
    of = module("recurrent", made).float()
    lines = of.level_map({"s": {**columns("recurrent"), "low": torch.zeros(9, 7, dtype=torch.long)}}).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["low", "high"]
    assert 5 < float(lines[2].split()[-1].rstrip("%")) < 50
    assert lines[3].split()[-1] == "100%"
    assert "low" in lines[3]


@pytest.mark.parametrize("name", ENCODERS)
def test_shares_of_work_are_those_of_the_layers(name: str) -> None:
    of = ENCODERS[name]()
    work = level_work(
        of, {key: value.float() if value.is_floating_point() else value for key, value in columns(name).items()}
    )
    assert len(work) == 4
    assert all(share > 0 for share in work[1:])
    if name == "bert":  # levels of 1, 1 and 2 equal layers
        assert work[1] == work[2] == work[3] / 2


def test_a_forward_pass_without_tasks_runs_the_first_level_for_the_sake_of_other_ranks() -> None:
    of = module("recurrent")
    forward = ForwardPass(of.hierarchy, of.encoder, of.heads._modules, columns("recurrent"), ()).run()
    assert forward.state.hidden.requires_grad
    assert not forward.predictions


def test_rows_that_rise_can_be_found_before_the_batch_goes_to_a_device() -> None:
    of = module("recurrent")
    drawn = batch("recurrent", mixed=True)
    noted = of._label(drawn)
    assert {level: rows.tolist() for level, rows in noted["s"]["__levels__"].items()} == {
        2: [1, 2, 4, 5, 7, 8],
        3: [2, 4, 5, 8],
    }
    of.hierarchy.rows = lambda *_: pytest.fail("it is known already")
    assert len(of.run(noted).losses) == 3


@pytest.mark.parametrize("family", ["electra", "distilbert", "mpnet", "deberta-v2", "llama"])
def test_other_families_are_cut_too(family: str) -> None:
    of: Any = HuggingFaceLevels(HuggingFace(folder_of(family)), cut=[1, 4]).eval()
    inputs = columns("bert")
    state = of.step(of.step(of.prepare(inputs), 1), 2)
    expected = AutoModel.from_pretrained(folder_of(family)).eval()(**inputs).last_hidden_state
    there = inputs["attention_mask"].bool()
    assert_close(of.tap(state, 2)[0][there], expected[there], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "says"), [("albert", "AlbertModel: its layers"), ("t5", "T5Model: it does not run")]
)
def test_a_family_that_cannot_be_cut_says_so(family: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"must be a model that can be cut between its layers, got {says}"):
        HuggingFaceLevels(HuggingFace(folder_of(family)))


@pytest.mark.parametrize("cut", [[1, 2], [2, 1, 4], [0, 4], [4, 4], [5], []])
def test_a_cut_goes_up_to_the_top(cut: list[int]) -> None:
    with pytest.raises(
        ValueError, match=r"`cut(\[0\])?` must be (rising numbers of layers up to 4|a whole number of at least 1)"
    ):
        HuggingFaceLevels(HuggingFace(folder_of("bert")), cut=cut)
