"""The module: losses, masks, logs, optimizers, export, and what a bad batch is answered."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any, cast

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.data import DataLoader
from torchmetrics.functional import accuracy, r2_score
from torchmetrics.regression import MeanSquaredError

from lightning_mtl import Binary, HardSharing, Multiclass, MultiTaskDataModule, MultiTaskModule, Regression, Task
from tests.builders import columns, encoder, module, rows, splits, tasks
from tests.conftest import TrainerMaker


def loader(of: list[dict[str, Any]], batch: int = 8) -> CombinedLoader:
    return CombinedLoader({"s": DataLoader(cast(Any, of), batch, collate_fn=columns)}, "max_size_cycle")


def by_hand(made: MultiTaskModule, part: dict[str, Tensor]) -> Tensor:
    """An independent sum of the two losses."""
    trunk: Any = made.encoder.trunk
    heads: Any = made.heads
    features = trunk(part["x"])
    first: Tensor = F.cross_entropy(heads["sign"].layers(features), part["sign"], ignore_index=-100)
    known = ~part["size"].isnan()
    second: Tensor = ((heads["size"].layers(features).squeeze(-1) - part["size"])[known] ** 2).mean()
    return first + second


# Theorems


def test_training_equals_a_hand_written_loop(trainer: TrainerMaker) -> None:
    made, batches = module(), [columns(rows(60)[i : i + 8]) for i in range(0, 60, 8)]
    twin = copy.deepcopy(made)
    trainer(max_epochs=2).fit(made, loader(rows(60)))
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05)
    for part in batches * 2:
        optimizer.zero_grad()
        torch.autograd.backward(by_hand(twin, part))
        optimizer.step()
    assert_close(made.state_dict(), twin.state_dict())


def test_unlabelled_rows_do_not_count() -> None:
    made, part = module(), columns(rows(10))
    part["sign"][[1, 4]] = -100
    part["size"][[0, 2, 3]] = math.nan
    step = made.run({"s": part})
    assert_close(sum(step.losses), by_hand(made, part))
    assert [len(result.target) for result in step.results] == [8, 7]


def test_a_task_without_labels_drops_out_and_its_head_stays(trainer: TrainerMaker) -> None:
    of = [{**row, "size": math.nan} for row in rows(32)]
    made = MultiTaskModule(tasks(), encoder(), optimizer=lambda groups: torch.optim.AdamW(groups, weight_decay=0.5))
    before = copy.deepcopy(made.heads.state_dict())
    with pytest.warns(UserWarning, match=r"No batch of the first epoch had labels for \['size'\]"):
        trainer().fit(made, loader(of))
    after = made.heads.state_dict()
    assert_close(after["size.layers.weight"], before["size.layers.weight"], rtol=0, atol=0)
    assert not torch.equal(after["sign.layers.weight"], before["sign.layers.weight"])


def test_a_task_absent_from_a_batch_drops_out() -> None:
    made, part = module(), columns(rows(6))
    del part["size"]
    assert made.run({"s": part}).tasks == (0,)


def test_the_weight_of_a_task_multiplies_its_loss(trainer: TrainerMaker) -> None:
    part = columns(rows(8))
    made = module([Task("sign", head=Multiclass(2), weight=3.0), Task("size", head=Regression(), weight=0.5)])
    made.trainer = trainer()
    first, second = made.run({"s": part}).losses
    assert_close(made.training_step({"s": part}, 0), 3 * first + 0.5 * second)


def test_several_sources_in_a_step_add_up() -> None:
    part, other = columns(rows(6)), columns(rows(9, seed=1))
    made = module([Task("sign", "a", head=Multiclass(2)), Task("size", "b", head=Regression())])
    step = made.run({"a": {"x": part["x"], "sign": part["sign"]}, "b": {"x": other["x"], "size": other["size"]}})
    alone = module([Task("sign", head=Multiclass(2))]).run({"a": {"x": part["x"], "sign": part["sign"]}})
    assert [len(result.target) for result in step.results] == [6, 9]
    assert_close(step.losses[0], alone.losses[0])


def test_one_source_for_two_tasks_beside_another() -> None:
    made = module(
        [
            *(Task(n, "a", head=h) for n, h in (("sign", Binary()), ("size", Regression()))),
            Task("b", "b", head=Binary()),
        ]
    )
    answers = made({"a": {"x": torch.randn(3, 4)}, "b": {"x": torch.randn(5, 4)}})
    assert {name: len(answer) for name, answer in answers.items()} == {"sign": 3, "size": 3, "b": 5}
    assert set(made({"a": {"x": torch.randn(3, 4)}, "b": None})) == {"sign", "size"}


@pytest.mark.parametrize("each", [False, True])
def test_losses_of_the_users_own(each: bool) -> None:
    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        value = (prediction - target).abs()
        return value if each else value.mean()

    made, part = module([Task("size", head=Regression(), loss=loss)]), columns(rows(8))
    part["size"][:3] = math.nan
    prediction = made({"s": {"x": part["x"]}})["size"]
    assert_close(made.run({"s": part}).losses[0], (prediction - part["size"])[3:].abs().mean())


def test_a_loss_that_is_a_module_moves_with_the_model() -> None:
    weights = torch.tensor([1.0, 3.0])
    made = module([Task("sign", head=Multiclass(2), loss=nn.CrossEntropyLoss(weight=weights))]).double()
    assert made.losses["sign"].weight.dtype == torch.float64


# Logs


def test_validation_figures_are_over_all_rows(trainer: TrainerMaker) -> None:
    made, part = module(), splits()
    part["validation"][3]["size"] = None
    part["validation"][4]["sign"] = None
    data = MultiTaskDataModule({"s": part}, batch_size=7)
    (found,) = trainer().validate(made, data, verbose=False)
    whole = {name: torch.tensor([row[name] for row in part["validation"]]) for name in ("x",)}
    known = {n: [i for i, row in enumerate(part["validation"]) if row[n] is not None] for n in ("sign", "size")}
    target = {n: torch.tensor([part["validation"][i][n] for i in known[n]]) for n in known}
    answers = {n: a[known[n]] for n, a in made({"s": whole}).items()}
    acc = accuracy(answers["sign"], target["sign"], task="multiclass", num_classes=2)
    r2 = r2_score(answers["size"], target["size"])
    expected = {
        "validate/sign/loss": F.cross_entropy(answers["sign"], target["sign"]),
        "validate/size/loss": F.mse_loss(answers["size"], target["size"]),
        "validate/sign/accuracy": acc,
        "validate/size/r2": r2,
        "validate/score": (acc + r2) / 2,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value.item(), rel=1e-5), name
    assert found["validate/loss"] == pytest.approx(found["validate/sign/loss"] + found["validate/size/loss"])


def test_an_error_counts_as_a_share_of_that_of_a_constant_learned_from_the_training_labels(
    trainer: TrainerMaker,
) -> None:
    of, part = {"mse": MeanSquaredError()}, splits()
    which = [Task("size", head=Regression(), metrics=of), Task("sign", head=Binary(), metrics=[])]
    (found,) = trainer().validate(module(which), MultiTaskDataModule({"s": part}), verbose=False)
    train, held_out = (torch.tensor([row["size"] for row in part[split]]) for split in ("train", "validation"))
    plain = min((held_out - constant).square().mean().item() for constant in (train.mean(), train.median()))
    assert found["validate/score"] == pytest.approx(1 - found["validate/size/mse"] / plain)


def test_training_losses_are_averages_between_two_shows(trainer: TrainerMaker, tmp_path: Path) -> None:
    steps: list[dict[str, float]] = []

    class Watched(MultiTaskModule):
        def run(self, batch: Any) -> Any:
            step = super().run(batch)
            if self.training:
                steps.append({self.tasks[i].name: loss.item() for i, loss in zip(step.tasks, step.losses, strict=True)})
            return step

    logger = CSVLogger(tmp_path)
    made = Watched(tasks(), encoder())
    run = trainer(logger=logger, log_every_n_steps=3, max_epochs=1)
    run.fit(made, loader(rows(64)))
    logged = logger.experiment.metrics
    lines = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()
    head = lines[0].split(",")
    found = [dict(zip(head, line.split(","), strict=True)) for line in lines[1:]]
    assert logged == []
    assert [int(line["step"]) for line in found] == [2, 5, 7]
    for line, (start, end) in zip(found, [(0, 3), (3, 6), (6, 8)], strict=True):
        for name in ("sign", "size"):
            mean = sum(step[name] for step in steps[start:end]) / (end - start)
            assert float(line[f"train/{name}/loss"]) == pytest.approx(mean, rel=1e-5)
            assert float(line["train/loss"]) > 0
    assert "train/sign/accuracy" in found[0]
    assert float(run.callback_metrics["train/loss"]) == pytest.approx(float(found[-1]["train/loss"]))


def test_training_metrics_are_those_of_the_last_batch(trainer: TrainerMaker) -> None:
    answers: list[tuple[Tensor, ...]] = []

    class Watched(MultiTaskModule):
        def run(self, batch: Any) -> Any:
            step = super().run(batch)
            answers.append((step.results[0].prediction, step.results[0].target))
            return step

    run = trainer(log_every_n_steps=100)
    run.fit(Watched(tasks(["sign"]), encoder()), loader(rows(30)))
    prediction, target = answers[-1]
    expected = accuracy(prediction, target, task="multiclass", num_classes=2)
    assert run.callback_metrics["train/sign/accuracy"] == pytest.approx(expected.item())


def test_too_few_labels_to_judge_by_are_named(trainer: TrainerMaker) -> None:
    part = splits()
    for row in part["validation"][1:]:
        row["size"] = None
    with pytest.warns(UserWarning, match=r"Fewer than two labelled examples to validate \['size'\] on"):
        (found,) = trainer().validate(module(), MultiTaskDataModule({"s": part}), verbose=False)
    assert "validate/size/r2" not in found
    assert found["validate/score"] == found["validate/sign/accuracy"]


def test_nothing_of_an_evaluation_is_left_for_the_next(trainer: TrainerMaker) -> None:
    made, part = module(), splits()
    few = splits()
    for row in few["validation"][1:]:
        row["size"] = None
    (alone,) = trainer().validate(made, MultiTaskDataModule({"s": part}), verbose=False)
    with pytest.warns(UserWarning, match="Fewer than two"):
        trainer().validate(made, MultiTaskDataModule({"s": few}), verbose=False)
    made.validation_step(columns_batch(part), 0)  # an evaluation that was interrupted
    (after,) = trainer().validate(made, MultiTaskDataModule({"s": part}), verbose=False)
    assert after == alone


def columns_batch(part: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Tensor]]:
    return {"s": columns(part["validation"][:5])}


def test_figures_of_large_numbers_keep_their_digits(trainer: TrainerMaker) -> None:
    part = splits()
    for split in part.values():
        for row in split:
            row["size"] = 2000.0 + row["size"]
    made = module(tasks(["size"]))
    with torch.no_grad():
        made.heads["size"].layers.bias += 2000  # type: ignore[union-attr, operator]
    (found,) = trainer().validate(made, MultiTaskDataModule({"s": part}), verbose=False)
    target = torch.tensor([row["size"] for row in part["validation"]])
    answer = made({"s": {"x": torch.tensor([row["x"] for row in part["validation"]])}})["size"]
    expected = 1 - (target - answer).double().square().sum() / (target - target.mean()).double().square().sum()
    assert found["validate/size/r2"] == pytest.approx(expected.item(), abs=1e-3)


# Optimizers, predictions, export


def test_the_default_optimizer_has_a_group_for_the_trunk_and_one_for_the_heads() -> None:
    made = MultiTaskModule(tasks(), encoder())
    optimizer = made.configure_optimizers()
    assert isinstance(optimizer, torch.optim.AdamW)
    groups = {group["name"]: {id(p) for p in group["params"]} for group in optimizer.param_groups}
    assert groups == {
        "trunk": {id(p) for p in made.encoder.parameters()},
        "heads": {id(p) for p in made.heads.parameters()},
    }


def test_predictions_of_some_tasks_through_the_trainer(trainer: TrainerMaker) -> None:
    made, part = module(), splits()
    del part["validation"]
    part["predict"] = [{"x": row["x"]} for row in part.pop("test")]  # rows without labels
    data = MultiTaskDataModule({"s": part}, batch_size=6)
    everything: Any = trainer().predict(made, data)
    shares = [list(row["probabilities"].values()) for batch in everything for row in batch["sign"]]
    x = torch.tensor([row["x"] for row in part["predict"]])
    assert_close(torch.tensor(shares), made({"s": {"x": x}})["sign"].softmax(-1))
    labels = [row["label"] for batch in everything for row in batch["sign"]]
    assert labels == [row["sign"]["label"] for row in made.predict(part["predict"])]
    made.predict_tasks = ["size"]
    some: Any = trainer().predict(made, data)
    assert set(some[0]) == {"size"}
    with pytest.raises(
        ValueError, match=r"`tasks` must be a list of names out of \['sign', 'size'\], got \['colour'\]"
    ):
        made({"s": {"x": x}}, ["colour"])


def test_export_holds_what_its_task_needs_and_gives_the_same() -> None:
    made, part = module(), columns(rows(5))
    made({"s": part})
    exported = made.export(["size"])
    assert isinstance(exported, nn.Module)
    assert not isinstance(exported, L.LightningModule)
    assert_close(exported(part), made({"s": part}, ["size"]))
    assert_close(exported({"x": part["x"]}), made({"s": part}, ["size"]))
    needed = sum(p.numel() for p in (*made.encoder.parameters(), *made.heads["size"].parameters()))
    assert sum(p.numel() for p in exported.parameters()) == needed
    assert_close(pickle.loads(pickle.dumps(exported))(part), exported(part))
    with pytest.raises(ValueError, match="must be a list of names"):
        made.export(["colour"])


def test_saved_loaded_and_resumed_models_predict_alike(trainer: TrainerMaker, tmp_path: Path) -> None:
    def data() -> MultiTaskDataModule:
        return MultiTaskDataModule({"s": splits()}, batch_size=8, summary=False, seed=3)

    def tasks() -> list[Task]:  # with dropout, so that a resumed run must draw what the unbroken one draws
        return [Task("sign", head=Multiclass(2, dropout=0.3)), Task("size", head=Regression(dropout=0.3))]

    x = torch.tensor([row["x"] for row in rows(7, seed=9)])
    path = tmp_path / "half.ckpt"
    half = MultiTaskModule(tasks(), encoder())
    unbroken, first = copy.deepcopy(half), trainer(max_epochs=2)
    torch.manual_seed(5)
    trainer(max_epochs=4).fit(unbroken, data())
    torch.manual_seed(5)
    first.fit(half, data())
    first.save_checkpoint(path)
    resumed = MultiTaskModule(tasks(), encoder())
    torch.manual_seed(6)
    trainer(max_epochs=4).fit(resumed, data(), ckpt_path=path)
    loaded = MultiTaskModule.load_from_checkpoint(path, tasks=tasks(), encoder=encoder(seed=8), weights_only=True)
    for made in (loaded, half, resumed, unbroken):
        made.eval()
    for task in ("sign", "size"):
        batch = {"s": {"x": x}}
        assert_close(loaded(batch)[task], half(batch)[task], rtol=0, atol=0)
        assert_close(resumed(batch)[task], unbroken(batch)[task], rtol=0, atol=0)
        served, head = loaded.export([task])({"x": x})[task], half.tasks[0 if task == "sign" else 1].known_head()
        assert_close(served, head.predict(half(batch)[task]), rtol=0, atol=0)


def test_two_modules_of_the_same_tasks_share_nothing() -> None:
    which = [*tasks(["size"]), Task("sign", head=Multiclass(2), loss=nn.CrossEntropyLoss(weight=torch.ones(2)))]
    first, second = module(which), module(which)
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    assert not {id(b) for b in first.buffers()} & {id(b) for b in second.buffers()}


def test_batches_of_some_sources_can_be_predicted_first() -> None:
    made = module([Task("sign", "a", head=Multiclass(2)), Task("size", "b", head=Regression())])
    x = torch.randn(3, 4)
    assert set(made({"a": {"x": x}})) == {"sign"}
    assert set(made({"b": {"x": x}})) == {"size"}
    assert set(made({"a": {"x": x}, "b": {"x": x}})) == {"sign", "size"}


def test_what_an_earlier_run_was_bound_to_is_forgotten(trainer: TrainerMaker) -> None:
    made = module()
    trainer().validate(made, MultiTaskDataModule({"first": splits()}), verbose=False)
    trainer().fit(made, loader(rows(16)))  # its source has another name


# Bad input


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: module([]), ValueError, "`tasks` must hold at least one Task"),
        (lambda: module([*tasks(), Task("sign", head=Binary())]), ValueError, r"different names, got \['sign'\]"),
        (lambda: HardSharing(nn.Linear(2, 3)), ValueError, "`width` must be the size"),
    ],
)
def test_bad_arguments_are_refused(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


def test_a_batch_must_name_its_sources() -> None:
    made = module()
    with pytest.raises(ValueError, match=r"A batch must be \{source: \{column: tensor\}\}"):
        made.routing.label(columns(rows(4)))
    with pytest.raises(ValueError, match=r"A batch must be \{source: \{column: tensor\}\}"):
        made.routing.label([1, 2])
    made.routing.bind(["s"], every_task_every_step=True)
    with pytest.raises(ValueError, match="`batch` has source 'other', which no task reads"):
        made.run({"other": columns(rows(4))})


def test_a_loss_that_turns_nan_is_named_and_the_checkpoint_kept(trainer: TrainerMaker, tmp_path: Path) -> None:
    calls = []

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        calls.append(0)
        value = F.mse_loss(prediction, target)
        return value * math.nan if len(calls) > 13 else value

    which = [Task("sign", head=Multiclass(2)), Task("size", head=Regression(), loss=loss)]
    keep = L.pytorch.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    run = trainer(log_every_n_steps=5, enable_checkpointing=True, callbacks=[keep], max_epochs=5)
    with pytest.raises(
        ValueError, match="The loss of task 'size' must be finite, got nan at step 13, the first bad one"
    ):
        run.fit(module(which), loader(rows(64)))
    steps = sorted(int(path.stem.split("step=")[1]) for path in tmp_path.glob("*.ckpt"))
    assert steps == [2, 4, 6, 8, 10, 12]
    (last,) = tmp_path.glob("*step=12.ckpt")
    state = torch.load(last, weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())


def test_a_loop_of_the_users_own_needs_no_trainer() -> None:
    made = module()
    loss = made.training_step({"table": columns(rows(8))}, 0)
    made.backward(loss)
    assert all(p.grad is not None for p in made.encoder.parameters())
    scaled = module()
    scaled.backward(scaled.training_step({"table": columns(rows(8))}, 0), torch.tensor(2.0))
    for p, q in zip(made.parameters(), scaled.parameters(), strict=True):
        assert p.grad is not None
        assert_close(2 * p.grad, q.grad)


def test_a_module_can_be_copied_while_it_trains(trainer: TrainerMaker) -> None:
    class Copying(L.Callback):
        copies = 0

        def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            copy.deepcopy(pl_module)
            self.copies += 1

    watch = Copying()
    trainer(callbacks=[watch], log_every_n_steps=1).fit(
        module(), MultiTaskDataModule({"table": splits()}, summary=False)
    )
    assert watch.copies == 2  # with the check before training


def test_a_step_refuses_to_be_changed_where_it_would_not_count() -> None:
    step = module().run({"table": columns(rows(8))})
    changed: Any = step.losses
    with pytest.raises(TypeError):
        changed[0] = changed[0] * 2


def test_a_task_that_is_added_late_keeps_what_is_known_of_the_ranks() -> None:
    made = module()
    made.loss_over_ranks.world_size, made.loss_over_ranks.sharded = 3, True
    made.add_task(Task("late", "table", target="sign", head=Multiclass(2)))
    assert (made.loss_over_ranks.world_size, made.loss_over_ranks.sharded) == (3, True)
