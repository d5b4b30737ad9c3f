"""What has gone wrong without a word, or could."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_mtl import (
    EpisodeDataModule,
    HardSharing,
    MetaLearningModule,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Recurrent,
    Source,
    Tagging,
    Task,
)
from lightning_mtl.adaptation import MAML, MAMLPlusPlus, ProtoNet
from tests import builders
from tests.meta.episodes import QUIET, fit, for_rows, for_waves, kinds, of_rows, of_waves, on_rank, splits, trunk


def test_sentences_of_equal_length_are_tagged() -> None:
    rows = [
        {"words": ["a", "dog", "runs"], "tags": ["D", "N", "V"]},
        {"words": ["the", "cat", "sits"], "tags": ["D", "N", "V"]},
    ] * 4
    module = MultiTaskModule([Task("tags")], HardSharing(Recurrent()))
    data = MultiTaskDataModule({"s": Source(rows, words="words")}, batch_size=4, summary=False)
    L.Trainer(**QUIET, max_epochs=1).fit(module, data)


def test_a_new_wave_is_adapted_to_as_in_an_episode() -> None:
    module, data = for_waves(MAML(0.01)), of_waves(steps_per_epoch=30)
    fit(module, data)
    part = next(iter(data.val_dataloader()))["waves"]
    for i in range(2):
        few = [
            {"x": x.tolist(), "y": y.item()}
            for x, y in zip(part["support"]["x"][i], part["support"]["y"][i], strict=True)
        ]
        found = module.adapt(Task("next", target="y"), few)
        values = [row["next"]["value"] for row in found.predict([{"x": x.tolist()} for x in part["query"]["x"][i]])]
        wanted = module.by_step({"waves": part})["wave"].predictions[-1][i]
        torch.testing.assert_close(torch.tensor(values), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_rule_of_epochs_knows_where_it_is_resumed(tmp_path: Path) -> None:
    def rule() -> MAMLPlusPlus:
        return MAMLPlusPlus(0.1, steps=2, multi_step_epochs=3, first_order_epochs=1)

    whole, rest = for_rows(rule()), for_rows(rule(), seed=7)
    keep = {
        "callbacks": [ModelCheckpoint(tmp_path, filename="four", every_n_train_steps=4)],
        "enable_checkpointing": True,
    }
    fit(whole, of_rows(), max_epochs=2, **keep)
    again = {
        "callbacks": [ModelCheckpoint(tmp_path, filename="four", every_n_train_steps=4)],
        "enable_checkpointing": True,
    }
    trainer = L.Trainer(**{**QUIET, **again}, max_epochs=2)
    trainer.fit(rest, of_rows(), ckpt_path=tmp_path / "four.ckpt", weights_only=False)
    for (name, a), b in zip(whole.state_dict().items(), rest.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


class Supports(L.Callback):
    """Keeps the supports of training."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append(batch["rows"]["support"]["x"].clone())

    def different(self) -> int:
        return len({of.numpy().tobytes() for of in self.seen})


@pytest.mark.parametrize(
    ("options", "different"),
    [({"overfit_batches": 1.0}, 3), ({"overfit_batches": 0.34}, 1), ({"reload_dataloaders_every_n_epochs": 1}, 6)],
)
def test_each_pass_has_the_episodes_that_the_trainer_asks_for(options: dict[str, Any], different: int) -> None:
    watch = Supports()
    fit(for_rows(), of_rows(validation_episodes=40), max_epochs=2, callbacks=[watch], **options)
    assert watch.different() == different


def test_a_second_fit_begins_anew() -> None:
    module, data = for_rows(), of_rows()
    first, second = Supports(), Supports()
    fit(module, data, callbacks=[first])
    fit(module, data, callbacks=[second])
    assert all(torch.equal(a, b) for a, b in zip(first.seen, second.seen, strict=True))


def normed(seed: int = 0) -> HardSharing:
    torch.manual_seed(seed)
    return HardSharing(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh()), 8, inputs=["x"])


def test_without_steps_batch_norms_are_those_of_joint_training() -> None:
    made = []
    for kind in (MultiTaskModule, MetaLearningModule):
        shared = normed()
        torch.manual_seed(1)
        options: dict[str, Any] = {"adaptation": MAML(steps=0)} if kind is MetaLearningModule else {}
        module = kind(builders.tasks(), shared, optimizer=lambda p: torch.optim.SGD(p, 0.05), **options)
        data = MultiTaskDataModule({"s": builders.splits()}, batch_size=8, seed=0, summary=False)
        L.Trainer(**QUIET, max_epochs=1).fit(module, data)
        made.append(module.state_dict())
    one, other = made
    for name in one:
        if "running" not in name and "num_batches" not in name:  # each task runs the trunk once more
            torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6, msg=name)
    assert not torch.equal(other["encoder.trunk.1.running_mean"], torch.zeros(8))


def test_what_batch_norms_have_not_learned_is_not_predicted_with() -> None:
    module = MetaLearningModule([Task("kind", head=Multiclass(3))], normed(), adaptation=MAML(0.1))
    fit(module, of_rows())
    with pytest.raises(
        ValueError, match="`predict` must be of an adapted task where batch norms have no statistics of their own"
    ):
        module.predict([{"x": [0.0] * 4}])
    with pytest.raises(ValueError, match="`export` must be of an adapted task"):
        module.export()
    few = [{"x": row["x"], "sort": row["kind"]} for row in kinds(3, 4, first=50)]
    module.adapt(Task("sort"), few).predict(few[:1])


class Noisy(list[dict[str, Any]]):
    """Rows that are drawn anew at each reading; no plain list."""

    def __getitem__(self, number: Any) -> Any:
        row = super().__getitem__(number)
        return {**row, "x": (torch.tensor(row["x"]) + torch.randn(4)).tolist()}


class Augmented(torch.utils.data.Dataset[Any]):
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = Noisy(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Any:
        return self.rows[number]


def test_rows_that_are_augmented_are_drawn_anew() -> None:
    data = EpisodeDataModule(
        {"rows": {"train": Augmented(splits()["train"])}}, ways=3, shots=2, queries=3, summary=False, seed=0
    )
    data.setup_for(for_rows(), "fit")
    first, second = (data._drawings["train"]["rows"].draw("train", 0, 4, range(4)) for _ in range(2))
    assert torch.equal(first["support"]["kind"], second["support"]["kind"])
    assert not torch.equal(first["support"]["x"], second["support"]["x"])


def test_words_without_a_label_do_not_count_in_episodes() -> None:
    torch.manual_seed(0)
    encoder = HardSharing(nn.Linear(4, 8), width=8, inputs=["x"])
    module = MetaLearningModule([Task("tags", head=Tagging(3))], encoder, adaptation=MAML(0.1))
    tags = torch.randint(3, (2, 5, 6))
    tags[0, :, 3:] = -100
    part = {half: {"x": torch.randn(2, 5, 6, 4), "tags": tags} for half in ("support", "query")}
    module.train()
    step = module.run({"s": part})
    (target,) = [result.target for result in step.results]
    assert len(target) == 5 * 3 + 5 * 6
    assert int(target.min()) >= 0
    single = [
        module.run({"s": {half: {name: of[i : i + 1] for name, of in part[half].items()} for half in part}})
        for i in range(2)
    ]
    wanted = (15 * single[0].losses[0] + 30 * single[1].losses[0]) / 45
    torch.testing.assert_close(step.losses[0], wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adapting_in_inference_mode_and_in_double_precision(dtype: torch.dtype) -> None:
    module = for_rows()
    fit(module, of_rows())
    module = module.to(dtype)
    few = [{"x": row["x"], "sort": row["kind"]} for row in kinds(3, 4, first=50)]
    with torch.inference_mode():
        inside = module.adapt(Task("sort"), few)
    outside = module.adapt(Task("sort"), few)
    for a, b in zip(inside.parameters(), outside.parameters(), strict=True):
        assert a.dtype == dtype
        assert torch.equal(a, b)


def test_a_frozen_head_has_no_prototypes() -> None:
    module = for_rows(ProtoNet())
    module.heads["kind"].requires_grad_(False)
    with pytest.raises(ValueError, match="The head must not be frozen for ProtoNet"):
        fit(module, of_rows())


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ([], "A batch must hold episodes of source 'rows', got an empty list"),
        (
            {
                "support": {"x": torch.zeros(2, 0, 4), "kind": torch.zeros(2, 0)},
                "query": {"x": torch.ones(2, 3, 4), "kind": torch.zeros(2, 3)},
            },
            "Column 'x' must be a tensor with episodes and rows in the support",
        ),
        (
            {
                "support": {"x": [1.0], "kind": torch.zeros(2, 1)},
                "query": {"x": torch.ones(2, 3, 4), "kind": torch.zeros(2, 3)},
            },
            "Column 'x' must be a tensor with episodes and rows in the support of an episode of source 'rows', got list",
        ),
        (
            {"support": {"x": torch.ones(2, 1, 4)}, "query": {"x": torch.zeros(2, 3, 4)}},
            "Column 'kind' of task 'kind' must be there in the support of an episode of source 'rows', got",
        ),
    ],
)
def test_odd_episodes_are_refused(part: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        for_rows().run({"rows": part})


@pytest.mark.parametrize(
    ("options", "head", "said"),
    [
        ({"seed": -1}, None, "`seed` must be a whole number of at least 0, got -1"),
        ({}, Multiclass(3, class_weight=[1.0, 2.0, 3.0]), "`class_weight` of the head of task 'kind' must be left out"),
        ({}, Multiclass(3, names=["a", "b", "c"]), "`names` of the head of task 'kind' must be left out"),
    ],
)
def test_what_episodes_have_no_place_for_is_refused(options: dict[str, Any], head: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        of_rows(**options).setup_for(MetaLearningModule([Task("kind", head=head)], trunk()), "fit")


def test_fewer_episodes_than_processes_are_refused() -> None:
    data = of_rows(test_episodes=2)
    data.setup_for(for_rows())
    on_rank(data, 0, 3)
    with pytest.raises(ValueError, match="`test_episodes` must be at least 3, one for each process, got 2"):
        data.test_dataloader()
