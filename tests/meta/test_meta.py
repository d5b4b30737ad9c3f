"""The module that learns to learn: in a real Trainer, against the same steps by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn

from lightning_mtl import MetaLearningModule, Multiclass, MultiTaskDataModule, MultiTaskModule, Regression, Task
from lightning_mtl.adaptation import ANIL, BOIL, MAML, MAMLPlusPlus, MetaSGD, ProtoNet, Reptile
from lightning_mtl.balancers import PCGrad, Uncertainty
from tests import builders
from tests.meta.episodes import QUIET, fit, for_rows, for_waves, of_rows, of_waves, trunk

RATE, LR = 0.1, 0.1


def loss_of(weights: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """What `for_rows` computes, written out."""
    a, b, c, d = weights
    return nn.functional.cross_entropy(torch.tanh(x @ a.T + b) @ c.T + d, y)


def by_hand(weights: list[Tensor], part: Any) -> list[Tensor]:
    """The meta-gradient of a batch of episodes by unrolling one step each."""
    total = torch.zeros((), dtype=torch.float64)
    leaves = [w.clone().requires_grad_() for w in weights]
    for i in range(len(part["support"]["x"])):
        inner = loss_of(leaves, part["support"]["x"][i].double(), part["support"]["kind"][i])
        gradients = torch.autograd.grad(inner, leaves, create_graph=True)
        moved = [w - RATE * g for w, g in zip(leaves, gradients, strict=True)]
        total = total + loss_of(moved, part["query"]["x"][i].double(), part["query"]["kind"][i])
    return list(torch.autograd.grad(total / len(part["support"]["x"]), leaves))


def own(module: MetaLearningModule) -> list[Tensor]:
    return [p.detach().double() for p in (*module.encoder.parameters(), *module.heads.parameters())]


@pytest.mark.parametrize("engine", ["loop", "vmap"])
@pytest.mark.parametrize(
    ("options", "windows"),
    [
        ({}, [[0], [1], [2]]),
        ({"accumulate_grad_batches": 2}, [[0, 1], [2]]),
        ({"gradient_clip_val": 0.05}, [[0], [1], [2]]),
    ],
)
def test_a_run_is_the_steps_by_hand(engine: Any, options: dict[str, Any], windows: list[list[int]]) -> None:
    module, data = for_rows(MAML(RATE), lr=LR, engine=engine), of_rows()
    weights = own(module)
    fit(module, data, precision="64-true", **options)
    batches = [batch["rows"] for batch in _again(data)]
    for window in windows:
        gradients = [by_hand(weights, batches[i]) for i in window]
        share = options.get("accumulate_grad_batches", 1)
        mean = [sum(of) / share for of in zip(*gradients, strict=True)]
        if limit := options.get("gradient_clip_val"):
            norm = torch.cat([g.flatten() for g in mean]).norm()
            mean = [g * min(1.0, limit / (norm + 1e-6)) for g in mean]
        weights = [w - LR * g for w, g in zip(weights, mean, strict=True)]
    for found, wanted in zip(own(module), weights, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def _again(data: Any) -> Any:
    again = of_rows(episodes=data.episodes)
    again.setup_for(for_rows(), "fit")
    return again.train_dataloader()


@pytest.mark.parametrize(
    "rule", [MAML(0.1), ANIL(0.1), BOIL(0.1), MetaSGD(), MAMLPlusPlus(steps=2), Reptile(0.1), ProtoNet()]
)
def test_every_rule_learns_to_learn(rule: Any) -> None:
    """After some steps adapting to a test episode helps more than before any."""
    module = for_rows(rule, optimizer=lambda p: torch.optim.Adam(p, 0.01))
    data = of_rows(steps_per_epoch=40, episodes=8)
    before = _adapted(module, data)
    trainer = fit(module, data)
    assert _adapted(module, data) < before
    assert {"train/kind/loss", "train/kind/accuracy", "validate/kind/accuracy", "validate/score"} <= set(
        trainer.callback_metrics
    )


def _adapted(module: MetaLearningModule, data: Any) -> float:
    data.setup_for(module)
    return torch.cat([module.by_step(b)["kind"].losses[-1] for b in data.test_dataloader()]).mean().item()


def test_figures_are_those_of_all_query_rows() -> None:
    module, data = for_rows(), of_rows()
    (found,) = L.Trainer(**QUIET).test(module, data, verbose=False)
    trails = [module.by_step(batch)["kind"] for batch in data.test_dataloader()]
    losses = torch.cat([trail.losses[-1] for trail in trails])
    right = torch.cat([(t.predictions[-1].argmax(-1) == t.target).float().flatten() for t in trails])
    assert found["test/kind/loss"] == pytest.approx(losses.mean().item(), rel=1e-6)
    assert found["test/kind/accuracy"] == pytest.approx(right.mean().item(), rel=1e-6)


def test_by_step_begins_before_the_first_step_and_goes_as_far_as_asked() -> None:
    module, data = for_waves(MAML(0.01, steps=2)), of_waves()
    data.setup_for(module)
    batch = next(iter(data.test_dataloader()))
    trail, longer = module.by_step(batch)["wave"], module.by_step(batch, steps=5)["wave"]
    assert trail.losses.shape == (3, 4)
    assert trail.predictions.shape == (3, 4, 6)
    assert longer.losses.shape == (6, 4)
    torch.testing.assert_close(longer.losses[:3], trail.losses)
    x, y = batch["waves"]["query"]["x"], batch["waves"]["query"]["y"]
    plain = torch.stack([module({"waves": {"x": part}})["wave"] for part in x])
    torch.testing.assert_close(trail.predictions[0], plain)
    torch.testing.assert_close(trail.losses[0], (plain - y).square().mean(1))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precisions(precision: Any) -> None:
    module = for_waves(MetaSGD(), engine="auto")
    trainer = fit(module, of_waves(episodes=8), precision=precision)
    assert trainer.callback_metrics["train/wave/loss"].isfinite()
    assert all(p.isfinite().all() for p in module.parameters())


def test_sharded_strategies_are_refused() -> None:
    module = for_rows()
    trainer = L.Trainer(**QUIET, max_epochs=1)
    trainer.strategy.__class__ = FSDPStrategy
    module._trainer = trainer
    with pytest.raises(ValueError, match="`strategy` must leave each process a whole model to adapt, got FSDPStrategy"):
        module.setup("fit")


def test_episodes_of_different_sizes_are_a_mean_over_query_rows() -> None:
    data = of_rows(shots=(1, 3))
    module = for_rows()
    data.setup_for(module, "fit")
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch["rows"], list)
    assert len({len(episode["support"]["x"]) for episode in batch["rows"]}) > 1
    module.train()
    step = module.run(batch)
    torch.autograd.backward(step.losses[0])
    gradients = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    module.zero_grad()
    for episode in batch["rows"]:
        torch.autograd.backward(module.run({"rows": [episode]}).losses[0] / len(batch["rows"]))
    for p, wanted in zip(module.parameters(), gradients, strict=True):
        torch.testing.assert_close(p.grad, wanted)
    fit(for_rows(), of_rows(shots=(1, 3)))


# Tasks of an ordinary data module


def of_tasks(**options: Any) -> MetaLearningModule:
    shared = builders.encoder()
    torch.manual_seed(1)
    given: dict[str, Any] = {"optimizer": lambda p: torch.optim.SGD(p, lr=0.05), **options}
    return MetaLearningModule(builders.tasks(), shared, **given)


def test_without_steps_it_is_joint_training() -> None:
    module, plain = of_tasks(adaptation=MAML(steps=0)), builders.module()
    for made in (module, plain):
        data = MultiTaskDataModule({"s": builders.splits()}, batch_size=8, seed=0, summary=False)
        trainer = L.Trainer(**QUIET, max_epochs=2, precision="64-true")
        trainer.fit(made, data)
    for (name, a), b in zip(module.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=name)


def test_tasks_with_heads_of_their_own_are_adapted_each_to_a_part_of_a_batch() -> None:
    module = of_tasks(adaptation=MAML(0.1)).double()
    rows = builders.columns(builders.rows(8))
    x, sign, size = rows["x"].double(), rows["sign"], rows["size"].double()
    module.train()
    step = module.run({"s": {"x": x, "sign": sign, "size": size}})
    torch.autograd.backward(torch.stack(step.losses).sum())
    leaves = [p.detach().clone().requires_grad_() for p in module.parameters()]

    def answer(weights: Sequence[Tensor], task: int, rows: slice) -> Tensor:
        a, b, *heads = weights
        out = torch.tanh(x[rows] @ a.T + b) @ heads[2 * task].T + heads[2 * task + 1]
        return (
            nn.functional.cross_entropy(out, sign[rows]) if task == 0 else (out.squeeze(1) - size[rows]).square().mean()
        )

    total = torch.zeros(())
    for task in (0, 1):
        mine = leaves[:2] + leaves[2 + 2 * task : 4 + 2 * task]
        gradients = torch.autograd.grad(answer(leaves, task, slice(1, 8, 2)), mine, create_graph=True)
        moved = list(leaves)
        for place, (w, g) in zip([0, 1, 2 + 2 * task, 3 + 2 * task], zip(mine, gradients, strict=True), strict=True):
            moved[place] = w - 0.1 * g
        total = total + answer(moved, task, slice(0, 8, 2))
    for p, wanted in zip(module.parameters(), torch.autograd.grad(total, leaves), strict=True):
        torch.testing.assert_close(p.grad, wanted, rtol=1e-10, atol=1e-12)


def test_in_evaluation_every_row_is_judged_once() -> None:
    module = of_tasks()
    module.eval()
    step = module.run({"s": builders.columns(builders.rows(9))})
    assert [len(result.target) for result in step.results] == [9, 9]


def test_tasks_are_trained_and_some_labels_may_be_missing() -> None:
    rows = builders.rows(40)
    for i, row in enumerate(rows):
        row["sign" if i % 3 else "size"] = -100 if i % 3 else float("nan")
    module = of_tasks()
    data = MultiTaskDataModule({"s": {"train": rows, "validation": builders.rows(20, 1)}}, batch_size=10, summary=False)
    trainer = fit(module, data, max_epochs=3)
    assert {"validate/sign/accuracy", "validate/size/r2"} <= set(trainer.callback_metrics)


def test_a_task_with_one_labelled_row_is_left_out_aloud() -> None:
    module, rows = of_tasks(), builders.columns(builders.rows(6))
    rows["size"][1:] = float("nan")
    module.train()
    with pytest.warns(UserWarning, match="Task 'size' had a single labelled row in a batch"):
        step = module.run({"s": rows})
    assert step.tasks == (0,)


@pytest.mark.parametrize("balancer", [PCGrad(), Uncertainty()])
def test_meta_gradients_are_balanced(balancer: Any) -> None:
    module = of_tasks(balancer=balancer)
    data = MultiTaskDataModule({"s": builders.splits()}, batch_size=16, seed=0, summary=False)
    fit(module, data)
    assert module.balance is not None
    assert module.balance.tasks == ("sign", "size")


def test_a_rule_weighs_the_meta_gradients_of_the_tasks() -> None:
    module = of_tasks(balancer=builders.leaning, adaptation=MAML(0.1))
    data = MultiTaskDataModule({"s": builders.splits()}, batch_size=48, seed=0, summary=False)
    watch = Batches()
    first = _encoder(module)
    fit(module, data, max_steps=1, precision="64-true", callbacks=[watch], limit_val_batches=0)
    again = of_tasks(adaptation=MAML(0.1)).double()
    again.train()
    losses = again.run(watch.seen[0]).losses
    shared = list(again.encoder.parameters())
    rows = torch.stack([torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared)]) for loss in losses])
    torch.testing.assert_close(
        (first - _encoder(module)) / 0.05, builders.leaning(rows @ rows.T) @ rows, rtol=1e-8, atol=1e-10
    )


class Batches(L.Callback):
    """Keeps the batches of training."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append(batch)


def _encoder(module: MultiTaskModule) -> Tensor:
    return torch.cat([p.detach().double().flatten() for p in module.encoder.parameters()])


# Bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "fast"}, "`engine` must be one of"),
        ({"norm": "none"}, "`norm` must be one of"),
        ({"chunk": 0}, "`chunk` must be a whole number of at least 1, got 0"),
        ({"compile": True}, "`engine` must be 'vmap' with `compile`, got 'auto'"),
        ({"support": 1.0}, "`support` must be above 0 and below 1, got 1.0"),
        ({"adaptation": MAML}, "`adaptation` must be one of lightning_mtl.adaptation"),
        ({"adaptation": MAML(adapted=["trunk.*"])}, "`adapted` of MAML must match"),
        ({"balancer": PCGrad(), "scope": "representation"}, "`scope` must be 'parameters' where tasks are adapted"),
    ],
)
@pytest.mark.filterwarnings("ignore::beartype.roar.BeartypeWarning")
def test_bad_arguments_are_refused(options: dict[str, Any], said: str) -> None:
    from jaxtyping import TypeCheckError

    with pytest.raises((ValueError, TypeCheckError)) as raised:
        for_rows(**options)
    assert raised.type is TypeCheckError or raised.match(said)


def test_a_head_that_does_not_suit_is_refused_at_once() -> None:
    with pytest.raises(
        ValueError,
        match="`head` of task 'wave' must be Multiclass or Binary with one linear layer for ProtoNet, got Regression",
    ):
        for_waves(ProtoNet())


def test_adapting_that_diverges_is_named_with_its_step_rate_and_seed() -> None:
    module = for_waves(MAML(1e9, steps=3))
    with pytest.raises(
        ValueError,
        match=r"task 'wave' must stay finite, got a loss that is not in episode \d of the step .*'seed': 0, 'step': 0.*after inner step \d, with `rate` 1000000000.0",
    ):
        fit(module, of_waves(), limit_val_batches=0)


def test_support_and_query_that_overlap_are_refused() -> None:
    x, kind = torch.randn(2, 6, 4), torch.tensor([[0, 1, 2, 0, 1, 2]] * 2)
    part = {"support": {"x": x, "kind": kind}, "query": {"x": x.flip(1), "kind": kind.flip(1)}}
    module = for_rows()
    module.train()
    with pytest.raises(
        ValueError,
        match="must have no row in common in support and query, got row 5 of the support of episode 0 as row 0",
    ):
        module.run({"rows": part})


def test_an_episode_without_a_label_is_refused() -> None:
    kind = torch.tensor([[0, 1, 2], [0, -100, 2]])
    part = {"support": {"x": torch.randn(2, 3, 4), "kind": kind}, "query": {"x": torch.randn(2, 3, 4), "kind": kind}}
    with pytest.raises(
        ValueError,
        match="must have a label in each row of an episode; in the support of an episode of source 'rows', row 4 has none",
    ):
        for_rows().run({"rows": part})


def test_no_episode_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="An episode of source 'rows' must be"):
        for_rows().run({"rows": [{"x": torch.randn(3, 4)}]})


def test_heads_are_those_of_the_ways_or_of_numbers() -> None:
    module = MetaLearningModule([Task("kind")], trunk())
    fit(module, of_rows(), max_steps=1)
    assert isinstance(module.tasks[0].head, Multiclass)
    assert module.tasks[0].known_head().outputs == 3
    waves = MetaLearningModule([Task("y")], trunk(1))
    fit(waves, of_waves(), max_steps=1)
    assert isinstance(waves.tasks[0].head, Regression)


@pytest.mark.parametrize(
    "rule", [MetaSGD(steps=2), MAMLPlusPlus(steps=3, first_order_epochs=1), ProtoNet(), Reptile(minibatch=4)]
)
@pytest.mark.parametrize("way", ["checkpoint", "folder"])
def test_what_was_learned_is_kept(rule: Any, way: str, tmp_path: Any) -> None:
    module, data = for_rows(rule), of_rows()
    trainer = fit(module, data)
    if way == "checkpoint":
        trainer.save_checkpoint(tmp_path / "x.ckpt", weights_only=True)
        again = MetaLearningModule.load_from_checkpoint(tmp_path / "x.ckpt")
    else:
        module.save_pretrained(tmp_path / "folder")
        again = MetaLearningModule.from_pretrained(tmp_path / "folder")
    batch = next(iter(data.val_dataloader()))
    torch.testing.assert_close(
        again.by_step(batch)["kind"].losses, module.by_step(batch)["kind"].losses, rtol=0, atol=0
    )
    assert type(again.adaptation) is type(rule)


def test_the_rates_are_a_group_of_their_own() -> None:
    module = for_rows(MetaSGD(), optimizer=torch.optim.AdamW)
    groups = module.configure_optimizers().param_groups
    assert [group["name"] for group in groups] == ["trunk", "heads", "adaptation"]
    assert groups[-1]["weight_decay"] == 0
    assert len(groups[-1]["params"]) == 4


def test_a_class_without_an_example_has_no_prototype() -> None:
    kind = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 1, 0, 1, 1]])
    part = {"support": {"x": torch.randn(2, 6, 4), "kind": kind}, "query": {"x": torch.randn(2, 6, 4), "kind": kind}}
    with pytest.raises(
        ValueError,
        match=r"support of task 'kind' must have an example of each class for ProtoNet, .* got none of class 2",
    ):
        for_rows(ProtoNet()).run({"rows": part})


class Halving(MAML):
    """A rule of the user's own."""


def test_a_rule_of_ones_own_is_asked_for(tmp_path: Any) -> None:
    module, data = for_rows(Halving(0.1)), of_rows()
    fit(module, data).save_checkpoint(tmp_path / "own.ckpt")
    with pytest.raises(
        ValueError,
        match=r"adaptation: tests.meta.test_meta.Halving. Give them: load_from_checkpoint\(path, adaptation=...\)",
    ):
        MetaLearningModule.load_from_checkpoint(tmp_path / "own.ckpt")
    again = MetaLearningModule.load_from_checkpoint(tmp_path / "own.ckpt", adaptation=Halving(0.1))
    batch = next(iter(data.val_dataloader()))
    torch.testing.assert_close(again.by_step(batch)["kind"].losses, module.by_step(batch)["kind"].losses)
