"""The data module: what it delivers, what it checks, what it prints."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, WeightedRandomSampler

from lightning_mtl import (
    BagOfWords,
    Binary,
    HardSharing,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Source,
    Task,
)
from lightning_mtl.callbacks import SamplingSchedule
from lightning_mtl.samplers import DynamicTaskPrioritization, MultiTaskSampler, Uniform
from tests.builders import columns, encoder, module, rows, splits, tasks
from tests.conftest import TrainerMaker


def fit(data: MultiTaskDataModule, trainer: TrainerMaker, made: MultiTaskModule | None = None) -> MultiTaskModule:
    made = made or module()
    trainer(num_sanity_val_steps=0).fit(made, data)
    return made


def test_each_source_has_its_own_batches() -> None:
    data = MultiTaskDataModule({"a": Source(rows(20), batch_size=5), "b": rows(30)}, batch_size=10)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 4 == len(data.train_dataloader())
    assert {(len(batch["a"]["x"]), len(batch["b"]["x"])) for batch in batches} == {(5, 10)}


@pytest.mark.parametrize("workers", [0, 2])
def test_validation_reads_every_row_once(workers: int) -> None:
    data = MultiTaskDataModule(
        {"a": splits(), "b": {"train": rows(5), "validation": rows(3)}}, batch_size=8, num_workers=workers
    )
    data.setup("fit")
    batches = list(data.val_dataloader())
    read = torch.cat([batch["a"]["size"] for batch in batches])
    assert read.tolist() == pytest.approx([row["size"] for row in splits()["validation"]])
    assert [set(batch) for batch in batches] == [{"a", "b"}, {"a"}, {"a"}]


def of_all_kinds(rows: list[int]) -> dict[str, Any]:
    """Make a batch of what a collate may return: numbers of all kinds, small and large, in any layout, and other things."""
    x = torch.tensor(rows, dtype=torch.float64)
    kinds = [
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "half",
        "bfloat16",
        "float",
        "double",
        "cfloat",
        "uint16",
    ]
    return {
        **{kind: x.to(getattr(torch, kind)) for kind in kinds},
        "large": x[:, None].expand(-1, 40_000).clone(),
        "single": x[0],
        "none": x[:0],
        "turned": torch.stack([x, x + 1]).T,
        "repeated": x[:, None].expand(-1, 3),
        "negative": torch.complex(x, x).conj().imag,
        "sparse": x.long().diag().to_sparse(),
        "named": {"inner": x, "text": "words"},
        "listed": [x, "words", None],
        "learned": torch.nn.Parameter(x),
    }


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_batches_of_workers_are_those_of_no_workers() -> None:
    """Whatever way a tensor takes from a worker, it arrives as it was, and may be written to."""

    def read(workers: int) -> list[dict[str, Any]]:
        data = MultiTaskDataModule(
            {"s": Source(list(range(1, 17)), collate=of_all_kinds)}, batch_size=4, num_workers=workers, seed=1
        )
        data.setup("fit")
        return [batch["s"] for batch in data.train_dataloader()]

    for alone, sent in zip(read(0), read(2), strict=True):
        assert str(sent) == str(alone)
        for name, value in alone.items():
            assert type(sent[name]) is type(value)
            if isinstance(value, torch.Tensor):
                assert (sent[name].dtype, sent[name].requires_grad) == (value.dtype, value.requires_grad)
                assert torch.equal(sent[name].to_dense(), value.to_dense())
        sent["int64"] += 1


def test_the_table_says_what_there_is(trainer: TrainerMaker, capsys: pytest.CaptureFixture[str]) -> None:
    part = splits(40)
    for row in part["train"][:10]:
        row["size"] = None
    fit(MultiTaskDataModule({"s": part}, batch_size=8, steps_per_epoch=10), trainer)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    share = sum(row["sign"] for row in part["train"]) / 40
    assert lines[0] == [
        "task",
        "source",
        "head",
        "train",
        "validation",
        "classes",
        "majority",
        "labelled",
        "draws/epoch",
    ]
    assert lines[2] == ["sign", "s", "Multiclass", "40", "20", "2", f"{max(share, 1 - share):.1%}", "100.0%", "80"]
    assert lines[3] == ["size", "s", "Regression", "40", "20", "-", "-", "75.0%", "60"]


def test_sources_that_no_task_reads_are_not_delivered(trainer: TrainerMaker) -> None:
    data = MultiTaskDataModule({"a": splits(), "b": splits()}, batch_size=8, summary=False)
    made = module([Task("sign", "a", head=Multiclass(2))])
    fit(data, trainer, made)
    assert all(set(batch) == {"a"} for batch in data.train_dataloader())


def test_copies_of_training_rows_are_counted(trainer: TrainerMaker) -> None:
    part = splits()
    part["validation"][:3] = part["train"][:3]
    with pytest.warns(UserWarning, match="Source 's': 3 of 20 rows of split 'validation' have the same inputs"):
        fit(MultiTaskDataModule({"s": part}, summary=False), trainer)


def test_ready_loaders_keep_their_batches(trainer: TrainerMaker) -> None:
    of: Any = rows(20)
    held: Any = rows(9, seed=4)
    sampler = WeightedRandomSampler([1.0] + [0.0] * 19, 12)
    weighted: DataLoader[Any] = DataLoader(of, 4, sampler=sampler, collate_fn=columns)
    in_order: DataLoader[Any] = DataLoader(of, 5, collate_fn=columns)
    whole: DataLoader[Any] = DataLoader(of, 6, shuffle=True, drop_last=True, collate_fn=columns)
    for loader, sizes in ((weighted, [4] * 3), (in_order, [5] * 4), (whole, [6] * 3)):
        data = MultiTaskDataModule({"s": {"train": loader}})
        data.setup("fit")
        batches = list(data.train_dataloader())
        assert [len(batch["s"]["x"]) for batch in batches] == sizes
        if loader is weighted:
            assert torch.cat([batch["s"]["size"] for batch in batches]).tolist() == pytest.approx([of[0]["size"]] * 12)
        if loader is in_order:
            assert torch.cat([batch["s"]["sign"] for batch in batches]).tolist() == [row["sign"] for row in of]
        held_out: DataLoader[Any] = DataLoader(held, 5, collate_fn=columns)
        fit(MultiTaskDataModule({"s": {"train": loader, "validation": held_out}}, summary=False), trainer)


def test_a_loader_that_draws_with_replacement_keeps_its_draws() -> None:
    of: Any = rows(20)
    sampler = RandomSampler(of, replacement=True, num_samples=8)
    data = MultiTaskDataModule({"s": {"train": DataLoader(of, 4, sampler=sampler, collate_fn=columns)}})
    data.setup("fit")
    assert len(data.train_dataloader()) == 2


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_saved_within_an_epoch_goes_on_with_the_next_step(trainer: TrainerMaker, tmp_path: Path) -> None:
    def run(workers: int, ckpt_path: Path | None = None) -> tuple[MultiTaskModule, list[torch.Tensor]]:
        seen: list[torch.Tensor] = []

        class Watch(L.Callback):
            def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
                seen.append(batch["s"]["x"])

        keep = ModelCheckpoint(
            tmp_path / str(len(list(tmp_path.iterdir()))),
            filename=f"{workers}-{{step}}",
            every_n_train_steps=5,
            save_top_k=-1,
        )
        made, data = module(), MultiTaskDataModule({"s": splits(64)}, batch_size=8, num_workers=workers, summary=False)
        fitter = trainer(callbacks=[Watch(), keep], enable_checkpointing=True, max_epochs=2)
        fitter.fit(made, data, ckpt_path=ckpt_path)
        return made, seen

    for workers in (0, 1):
        whole, read = run(workers)
        (saved,) = tmp_path.rglob(f"{workers}-step=5.ckpt")
        resumed, rest = run(workers, saved)
        torch.testing.assert_close(rest, read[5:])
        torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_the_seed_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(**options: Any) -> list[float]:
        data = MultiTaskDataModule({"s": rows(20)}, batch_size=4, **options)
        data.setup("fit")
        made: list[float] = next(iter(data.train_dataloader()))["s"]["size"].tolist()
        return made

    assert first() == first(seed=0) != first(seed=7)
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert first() == first(seed=7)


# Bad input, before the first step


def broken(change: Any) -> dict[str, Any]:
    part = splits()
    change(part)
    return {"s": part}


def _set(split: str, row: int, column: str, value: Any) -> Any:
    return lambda part: part[split][row].update({column: value})


class Untouched(MultiTaskModule):
    def training_step(self, *args: Any) -> Any:
        raise AssertionError("a step was taken")


@pytest.mark.parametrize(
    ("sources", "which", "says"),
    [
        ({"s": splits(), "t": splits()}, None, r"Task 'sign' reads source 'sign'; sources are \['s', 't'\]"),
        (
            {"s": splits()},
            [Task("sign", target="sing", head=Multiclass(2))],
            r"Source 's' has no column 'sing' in split 'train'; columns are .* Did you mean 'sign'\?",
        ),
        (broken(_set("train", 3, "sign", 7)), None, "0 to 1, or -100 for none; source 's', split 'train', row 3 has 7"),
        (broken(_set("validation", 2, "sign", -3)), None, "source 's', split 'validation', row 2 has -3"),
        (broken(_set("train", 5, "size", math.inf)), None, "source 's', split 'train', row 5 has inf"),
        (broken(_set("train", 4, "x", [0.0, math.nan, 0.0, 0.0])), None, "'train', row 4, column 'x' is NaN"),
        (broken(lambda part: part["train"].clear()), None, "Split 'train' of source 's' must have rows, got none"),
        (broken(lambda part: part["validation"].clear()), None, "Split 'validation' of source 's' must have rows"),
        (broken(lambda part: part.pop("train")), None, "Source 's' must have a split 'train' to fit on"),
        (
            broken(lambda part: [row.update(size=None) for row in part["train"]]),
            None,
            "Task 'size' must have labels to learn from: all 60 rows of column 'size' in source 's' are without",
        ),
        (
            broken(lambda part: [row.update(sign="yes") for row in part["train"]]),
            None,
            r"Column 'sign' of task 'sign' must have 2 different labels for Multiclass, got 1",
        ),
    ],
)
def test_bad_data_are_named_before_the_first_step(sources: Any, which: Any, says: str, trainer: TrainerMaker) -> None:
    made = Untouched(which or tasks(), encoder())
    with pytest.raises(ValueError, match=says):
        fit(MultiTaskDataModule(sources, summary=False), trainer, made)


def test_features_that_are_missing_are_named(trainer: TrainerMaker) -> None:
    part = {split: [{"u": 1.0, "v": row["size"], "sign": row["sign"]} for row in of] for split, of in splits().items()}
    part["validation"][7]["v"] = None
    made = MultiTaskModule(tasks(["sign"]), HardSharing(torch.nn.Linear(2, 4), width=4))
    with pytest.raises(
        ValueError, match="Source 's', split 'validation': Column 'v' must hold numbers, got none in row 7"
    ):
        fit(MultiTaskDataModule({"s": Source(part, features=["u", "v"])}, summary=False), trainer, made)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sources": {}}, "`sources` must name at least one dataset"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1, got 0"),
        ({"num_workers": -1}, "`num_workers` must be a whole number of at least 0, got -1"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MultiTaskDataModule(**{"sources": {"s": rows(4)}, **options})


def test_a_split_that_there_is_not(trainer: TrainerMaker) -> None:
    with pytest.raises(ValueError, match="No source has the split 'test'"):
        trainer().test(module(), MultiTaskDataModule({"s": rows(8)}))
    with pytest.raises(RuntimeError, match="The split 'train' is not read yet"):
        MultiTaskDataModule({"s": rows(8)}).train_dataloader()


def test_text_needs_an_encoder_for_text(trainer: TrainerMaker) -> None:
    rows_of = [{"t": f"word {i}", "good": i % 2} for i in range(20)]
    made = MultiTaskModule([Task("good", head=Binary())], HardSharing(torch.nn.Linear(4, 8), width=8))
    with pytest.raises(ValueError, match="Source 's' has `text`, but no tokenizer"):
        fit(MultiTaskDataModule({"s": Source(rows_of, text="t")}, summary=False), trainer, made)
    made = MultiTaskModule([Task("good", head=Binary())], HardSharing(BagOfWords(8, buckets=50)))
    fit(MultiTaskDataModule({"s": Source(rows_of, text="t")}, summary=False), trainer, made)


def test_frozen_tasks_without_data_still_predict_after_another_was_added(trainer: TrainerMaker) -> None:
    made = MultiTaskModule([Task("mood")], HardSharing(BagOfWords(8, buckets=100)))
    moods = [{"review": f"{mood} {i}", "mood": mood} for i in range(8) for mood in ("good", "bad")]
    tickets = [{"body": f"{haste} {i}", "haste": haste} for i in range(8) for haste in ("urgent", "later")]
    fit(MultiTaskDataModule({"reviews": Source(moods, text="review")}, summary=False), trainer, made)
    before = made.predict({"review": "good"})
    made.add_task(Task("haste", "tickets"), freeze=True)
    fit(MultiTaskDataModule({"tickets": Source(tickets, text="body")}, summary=False), trainer, made)
    after = made.predict({"review": "good", "body": "urgent"})
    assert after["mood"] == before["mood"]
    assert after["haste"]["label"] in ("urgent", "later")


def test_workers_stop_when_training_ends(trainer: TrainerMaker) -> None:
    fit(MultiTaskDataModule({"s": splits()}, batch_size=8, num_workers=1, summary=False), trainer)
    assert not multiprocessing.active_children()


# Bad input of sampling, before the first step


class Lines(IterableDataset[Any]):
    """Gives rows one after another."""

    def __init__(self, of: Sequence[Any]) -> None:
        self.of = of

    def __iter__(self) -> Iterator[Any]:
        return iter(self.of)


def pair(**changed: Any) -> dict[str, Any]:
    return {"sign": splits(40), "size": splits(20, seed=5)} | changed


def weighted() -> DataLoader[Any]:
    of: Any = rows(20)
    return DataLoader(of, 4, sampler=WeightedRandomSampler([1.0] * 20, 20), collate_fn=columns)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (weighted, "DataLoader of source 'size' must have a plain sampler to be sharded over 2 ranks, got WeightedRandomSampler"),
        (
            lambda: DataLoader(rows(21), 4, drop_last=True, collate_fn=columns),  # type: ignore[arg-type]
            "over 2 ranks, got SequentialSampler with drop_last=True",
        ),
        (lambda: rows(1), "Source 'size' must have a row for each process in split 'train', got 1 for 2. Add rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_sharded(size: Callable[[], Any], says: str, trainer: TrainerMaker) -> None:
    data = MultiTaskDataModule(pair(size={"train": size()}), summary=False)
    data.trainer = trainer(devices=2, strategy="ddp")
    data.setup("fit")
    with pytest.raises(ValueError, match=says):
        data.train_dataloader()


@pytest.mark.parametrize("batches", ["stratified", "mixed"])
@pytest.mark.parametrize(
    "size",
    [
        lambda: Source(splits(20), batch_size=4),
        lambda: Source({"train": Lines(rows(20))}, batch_size=4),
        lambda: {"train": weighted()},
    ],
    ids=["rows", "stream", "ready loader"],
)
def test_batches_of_a_sources_own_where_steps_draw_rows_of_all(
    size: Callable[[], Any], batches: Any, trainer: TrainerMaker
) -> None:
    says = f"Source 'size' must have no batches of its own where batches='{batches}' draws rows of all sources"
    with pytest.raises(ValueError, match=says):
        fit(
            MultiTaskDataModule(pair(size=size()), batches=batches, summary=False),
            trainer,
            Untouched(tasks(), encoder()),
        )


@pytest.mark.parametrize("options", [{}, {"limit_val_batches": 0}])
def test_a_rule_that_judges_needs_a_validation(options: dict[str, Any], trainer: TrainerMaker) -> None:
    sources = pair() if options else {name: of["train"] for name, of in pair().items()}
    data = MultiTaskDataModule(sources, sampling=DynamicTaskPrioritization(), summary=False)
    with pytest.raises(
        ValueError, match=r"DynamicTaskPrioritization must see validation scores, .* without validation"
    ):
        trainer(**options).fit(Untouched(tasks(), encoder()), data)


def test_a_rule_of_a_callback_needs_our_loader(trainer: TrainerMaker) -> None:
    theirs: DataLoader[Any] = DataLoader(columns(rows(8))["x"], 4)  # type: ignore[arg-type]
    run = trainer(callbacks=[SamplingSchedule(Uniform())])
    with pytest.raises(
        ValueError, match=r"`rule` of SamplingSchedule must have a `MultiTaskDataModule` .*, got DataLoader"
    ):
        run.fit(Untouched(tasks(), encoder()), theirs)


@pytest.mark.parametrize("asked", [{}, {"sgin": 1}, {"sign": 1, "size": 1}], ids=str)
@pytest.mark.parametrize("batches", ["all", "mixed"])
def test_passes_of_one_source_that_there_is(asked: dict[str, int], batches: Any, trainer: TrainerMaker) -> None:
    data = MultiTaskDataModule(pair(), batches=batches, steps_per_epoch=asked, summary=False)
    with pytest.raises(
        ValueError, match=r"`steps_per_epoch` must name one of the sources \['sign', 'size'\] with a number"
    ):
        fit(data, trainer, Untouched(tasks(), encoder()))


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ({"rows": 19}, r"same sources .* got \{'sign': 40, 'size': 19\} today and \{'sign': 40, 'size': 20\} in the checkpoint"),
        ({"batch_size": 5}, r"same global batches of a pass .* 'size': 4\} today and .*'size': 3\} in the checkpoint"),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_stream(size: dict[str, int], says: str, trainer: TrainerMaker, tmp_path: Path) -> None:
    def data(**options: Any) -> MultiTaskDataModule:
        stream = Source({"train": Lines(rows(20)), "validation": rows(9, 9)}, **{"rows": 20, **options})
        return MultiTaskDataModule(pair(size=stream), batch_size=8, summary=False)

    first = trainer()
    first.fit(module(), data())
    first.save_checkpoint(tmp_path / "saved.ckpt")
    with pytest.raises(ValueError, match=says):
        trainer(max_epochs=2).fit(Untouched(tasks(), encoder()), data(**size), ckpt_path=tmp_path / "saved.ckpt")


def test_rows_are_read_beside_the_steps_as_in_them() -> None:
    data = MultiTaskDataModule({"a": rows(20, 1), "b": rows(30, 2)}, batch_size=4, seed=3)
    data.setup("fit")
    loader = data.train_dataloader()
    (plan, *_), (batch, *_) = list(loader.sampler), list(data.train_dataloader())
    again = loader.read(plan)
    for name, columns_of in batch.items():
        assert torch.equal(again[name]["x"], columns_of["x"])
    assert isinstance(loader.sampler, MultiTaskSampler)
    assert loader.sampler.delivered.step == 0
    assert torch.equal(data.first_row("b")["x"], torch.tensor([rows(30, 2)[0]["x"]]))
