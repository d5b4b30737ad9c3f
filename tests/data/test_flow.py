"""Sources that are read as streams: the same rows whatever the ranks, the workers and the interruptions."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from typing import Any

import datasets
import lightning as L
import pytest
import torch
from datasets import ClassLabel, Features, IterableDataset, List, Value
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader
from torch.utils.data import IterableDataset as TorchIterable

from lightning_mtl import (
    HardSharing,
    Multiclass,
    MultiTaskDataModule,
    MultiTaskModule,
    Regression,
    Source,
    Tabular,
    Task,
)
from lightning_mtl.comparison import compare, score
from lightning_mtl.samplers import BATCHES, Batches, Explicit, Flow, MultiTaskSampler, Once, Plan, Proportional, Rows
from lightning_mtl.task import ROWS
from tests.builders import columns, encoder, module, rows, splits
from tests.conftest import TrainerMaker
from tests.models import KINDS

COUNT = 11
"""Rows of a pass of most streams here."""


class Lines(TorchIterable[Any]):
    """Gives rows one after another, and keeps no state."""

    def __init__(self, of: Sequence[Any]) -> None:
        self.of = of

    def __iter__(self) -> Iterator[Any]:
        return iter(self.of)


class Turned(Lines):
    """Begins each pass at another row, and notes which passes it was told of."""

    def __init__(self, of: Sequence[Any]) -> None:
        super().__init__(of)
        self.told: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.told.append(epoch)

    def __iter__(self) -> Iterator[Any]:
        first = self.told[-1] if self.told else 0
        return chain(self.of[first:], self.of[:first])


class Kept(Lines):
    """Knows where it stands: an iterator of it begins where the last one was left."""

    def __init__(self, of: Sequence[Any]) -> None:
        super().__init__(of)
        self.at = 0

    def __iter__(self) -> Iterator[Any]:
        while self.at < len(self.of):
            self.at += 1
            yield self.of[self.at - 1]
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.at = state["at"]


class Endless(TorchIterable[Any]):
    """Gives rows for ever."""

    def __iter__(self) -> Iterator[Any]:
        return ({"id": i, "x": [float(i % 7)] * 4, "sign": i % 2, "size": 0.5} for i in count())


def numbered(many: int = COUNT) -> list[dict[str, Any]]:
    return [{"id": row, "x": [float(row)]} for row in range(many)]


def hugging(of: Sequence[Any] | None = None, shards: int = 4) -> IterableDataset:
    return datasets.Dataset.from_list(list(of or numbered())).to_iterable_dataset(num_shards=shards)


def _squared(row: dict[str, Any]) -> dict[str, Any]:
    return {"y": row["id"] ** 2}


STREAMS: dict[str, Callable[[], Any]] = {
    "list": numbered,
    "no state": lambda: Lines(numbered()),
    "told of passes": lambda: Turned(numbered()),
    "own state": lambda: Kept(numbered()),
    "hugging face": hugging,
    "mapped": lambda: hugging().map(_squared),
    "mapped in batches": lambda: hugging().map(lambda of: {"y": of["id"]}, batched=True, batch_size=3),
    "filtered": lambda: hugging(numbered(2 * COUNT)).filter(lambda row: row["id"] < COUNT),
    "shuffled": lambda: hugging().shuffle(seed=3, buffer_size=4),
    "shuffled, then mapped": lambda: hugging().shuffle(seed=3, buffer_size=4).map(_squared),
    "of a generator": lambda: IterableDataset.from_generator(numbered),
}
EXACT = {"own state", "hugging face", "mapped", "mapped in batches", "filtered", "of a generator"}
"""Streams that go on by a state of their own."""


def flow(name: str, batch: int = 3, rank: int = 0, ranks: int = 1) -> Flow:
    made = STREAMS[name]()
    return Flow(made, batch, name="s") if name == "list" else Source(made).flow(batch, "s", rank, ranks)


def ids(taken: Sequence[tuple[int, Any]]) -> list[int]:
    return [row["id"] for _, row in taken]


def read(stream: Flow, many: int) -> list[int]:
    """Read on by one row at a time."""
    return [row for _ in range(many) for row in ids(stream.take(0, 1))]


# Alone


@pytest.mark.parametrize("name", STREAMS)
def test_every_pass_gives_every_row_once(name: str) -> None:
    taken = flow(name).take(0, 3 * COUNT)
    assert [number for number, _ in taken] == [*range(COUNT)] * 3
    for start in range(0, 3 * COUNT, COUNT):
        assert sorted(ids(taken)[start : start + COUNT]) == [*range(COUNT)]


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("seed", range(3))
def test_rows_do_not_depend_on_how_many_are_asked_for_at_once(name: str, seed: int) -> None:
    whole, parts, draw = flow(name), flow(name), random.Random(seed)
    taken: list[tuple[int, Any]] = []
    while len(taken) < 4 * COUNT:
        taken += parts.take(len(taken), draw.randint(1, 2 * COUNT))
    assert taken == whole.take(0, len(taken))


@pytest.mark.parametrize(("name", "changes"), [("told of passes", True), ("shuffled", True), ("hugging face", False)])
def test_passes_have_orders_of_their_own_where_the_stream_has(name: str, changes: bool) -> None:
    taken = read(flow(name), 2 * COUNT)
    assert (taken[:COUNT] != taken[COUNT:]) is changes


def test_a_stream_is_told_the_number_of_each_pass() -> None:
    told = Turned(numbered())
    stream = Flow(told, 3)
    assert told.told == []
    stream.take(0, 2 * COUNT)
    assert told.told == [0, 1]
    stream.take(0, 1)
    again = Turned(numbered())
    resumed = Flow(again, 3)
    resumed.load_state_dict(stream.state_dict())
    assert again.told == [2]
    assert read(resumed, COUNT) == read(stream, COUNT)
    assert again.told == [2, 3]


@pytest.mark.parametrize("at", [0, 1, 5, COUNT - 1, COUNT, COUNT + 1, 2 * COUNT])
@pytest.mark.parametrize("name", STREAMS)
def test_a_state_gives_the_rest_exactly(name: str, at: int) -> None:
    whole = flow(name)
    read(whole, at)
    state = copy.deepcopy(whole.state_dict())
    rest = read(whole, 2 * COUNT + 1)
    resumed, later = flow(name), flow(name)
    resumed.load_state_dict(state)
    later.load_state_dict(copy.deepcopy(resumed.state_dict()))  # saved again, before a row was read
    assert read(resumed, len(rest)) == rest
    assert read(later, len(rest)) == rest
    if at:
        whole.load_state_dict(state)  # what was read ahead is given back
        assert read(whole, len(rest)) == rest


def test_what_is_saved_exactly() -> None:
    kinds = {name: flow(name).saves for name in STREAMS}
    assert {name for name, exact in kinds.items() if exact} == EXACT
    nested = datasets.interleave_datasets([hugging(), hugging().shuffle(seed=1, buffer_size=4)])
    assert not Source(nested).flow(3, "s", 0, 1).saves


def test_an_own_state_is_gone_on_with_and_nothing_is_read_again() -> None:
    class Counted(Kept):
        reads = 0

        def __iter__(self) -> Iterator[Any]:
            for row in super().__iter__():
                Counted.reads += 1
                yield row

    whole = Flow(Counted(numbered()), 3, saves=True)
    read(whole, 8)
    resumed = Flow(Counted(numbered()), 3, saves=True)
    resumed.load_state_dict(whole.state_dict())
    Counted.reads = 0
    assert read(resumed, 2) == [8, 9]
    assert Counted.reads == 2


def test_a_generator_ends_with_an_error() -> None:
    data = MultiTaskDataModule({"s": (row for row in numbered())}, batch_size=3, steps_per_epoch=9)
    data.setup("fit")
    given = iter(data.train_dataloader())
    assert [row for batch in islice(given, 3) for row in batch["s"]["id"].tolist()] == [*range(9)]
    with pytest.raises(
        ValueError,
        match=r"Source 's' must give rows pass after pass, got an end after 11 rows of pass 0. .*from_generator",
    ):
        next(given)


@pytest.mark.parametrize("of", [[], Lines([]), Turned([]), Kept([])], ids=lambda of: type(of).__name__)
def test_a_stream_without_rows_is_refused(of: Any) -> None:
    with pytest.raises(
        ValueError, match="Source 's' must give rows pass after pass, got an end after 0 rows of pass 0"
    ):
        Flow(of, 3, name="s").take(0, 1)
    if not isinstance(of, list):
        with pytest.raises(ValueError, match="Split 'train' of source 's' must have rows, got none"):
            MultiTaskDataModule({"s": of}).setup("fit")


# Cut by rank


def sampler(streams: Mapping[str, Any], batches: Batches = "all", **options: Any) -> MultiTaskSampler:
    return MultiTaskSampler(streams, batches=batches, **{"batch": 8, "steps": 9, **options})


def planned(plan: MultiTaskSampler, epochs: int = 2) -> list[dict[str, list[Any]]]:
    """Plan and deliver the steps of some epochs; give the numbers of their rows."""
    steps = []
    for epoch in range(epochs):
        plan.set_epoch(epoch)
        for step in plan:
            plan.deliver()
            steps.append(_numbers(step))
    return steps


def _numbers(step: Plan) -> dict[str, list[Any]]:
    return {name: [row if isinstance(row, int) else row[1]["id"] for row in of] for name, of in step.items()}


def beside(name: str, rank: int = 0, ranks: int = 1) -> dict[str, Any]:
    """Put a stream beside rows that are read by number."""
    return {"s": flow(name, 4, rank, ranks), "rows": Rows(20, 4, name="rows", ranks=ranks)}


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("name", ["no state", "told of passes", "own state"])
def test_ranks_read_together_what_one_process_reads(name: str, batches: Batches, ranks: int) -> None:
    """A stream that is not split over ranks is read whole by each, which keeps every n-th row of the global batch."""
    whole = planned(sampler(beside(name), batches))
    parts = [
        planned(sampler(beside(name, rank, ranks), batches, num_replicas=ranks, rank=rank)) for rank in range(ranks)
    ]
    for step, *cut in zip(whole, *parts, strict=True):
        for source, of in step.items():
            assert sorted(row for part in cut for row in part[source]) == sorted(of)
        flat = [(source, row) for source, of in step.items() for row in of]
        for rank, part in enumerate(cut):
            assert [(source, row) for source, of in part.items() for row in of] == flat[rank::ranks]


@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("shards", [4, 3])
def test_ranks_share_out_a_hugging_face_stream(shards: int, shuffle: bool, batches: Batches) -> None:
    """By shards where they can be dealt out, else by rows: each rank reads rows of its own, all of them together."""
    of = hugging(numbered(24), shards)
    source = Source(of.shuffle(seed=1, buffer_size=5) if shuffle else of)
    ranks = [{"s": source.flow(4, "s", rank, 2), "rows": Rows(16, 4, ranks=2)} for rank in (0, 1)]
    parts = [planned(sampler(of, batches, num_replicas=2, rank=rank)) for rank, of in enumerate(ranks)]
    one = planned(sampler({"s": source.flow(4, "s", 0, 1), "rows": Rows(16, 4)}, batches))
    for step, first, second in zip(one, *parts, strict=True):
        assert {name: len(first[name]) + len(second[name]) for name in step} == {n: len(of) for n, of in step.items()}
    read_by = [[row for step in part for row in step.get("s", [])] for part in parts]
    assert all(len(of) > 12 for of in read_by)
    assert sorted(read_by[0][:12] + read_by[1][:12]) == [*range(24)]


@pytest.mark.parametrize("name", STREAMS)
def test_epochs_of_an_overfitting_run_are_equal(name: str) -> None:
    plan = sampler(beside(name), "mixed", frozen=True, steps=3)
    steps = planned(plan, 3)
    assert steps[:3] == steps[3:6] == steps[6:]
    within = iter(plan)
    next(within)
    plan.deliver()
    resumed = sampler(beside(name), "mixed", frozen=True, steps=3)
    resumed.load_state_dict(copy.deepcopy(plan.state_dict()))
    resumed.set_epoch(2)
    assert [_numbers(step) for step in resumed] == steps[1:3]
    assert planned(resumed) == steps[:6]


@pytest.mark.parametrize("name", STREAMS)
def test_rows_that_were_read_ahead_are_read_again_after_an_epoch_that_was_cut(name: str) -> None:
    def cut(ahead: int) -> list[dict[str, list[Any]]]:
        plan, steps = sampler(beside(name), "mixed"), []
        for epoch in range(3):
            plan.set_epoch(epoch)
            for step in islice(iter(plan), 5 + ahead):
                steps.append(_numbers(step))
            for _ in range(5):
                plan.deliver()
            del steps[len(steps) - ahead :]
        return steps

    assert cut(4) == cut(0)


# Through a data module


READY: dict[str, Callable[[], Any]] = {
    **{name: of for name, of in STREAMS.items() if name != "list"},
    "loader": lambda: DataLoader(Lines(numbered()), batch_size=4, collate_fn=columns),
}


def fed(name: str, **options: Any) -> MultiTaskDataModule:
    given = {"s": READY[name](), "rows": {"train": numbered(17)}}
    data = MultiTaskDataModule(given, **{"batch_size": 4, "seed": 1, "steps_per_epoch": 7, **options})
    data.setup("fit")
    return data


def delivered(loader: Any, epochs: int = 2, first: int = 0) -> Iterator[dict[str, list[int]]]:
    for epoch in range(first, first + epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            yield {name: part["id"].tolist() for name, part in batch.items()}


@pytest.mark.parametrize("after", [1, 6, 7, 9])
@pytest.mark.parametrize("name", READY)
def test_a_loader_goes_on_where_it_was_saved(name: str, after: int) -> None:
    """The steps are 7 in an epoch; a pass of the stream ends within them."""
    loader = fed(name).train_dataloader()
    given = delivered(loader, 3)
    steps = list(islice(given, after))
    state = copy.deepcopy(loader.state_dict())
    steps += given
    assert len(steps) == 21
    resumed = fed(name, seed=5).train_dataloader()
    resumed.load_state_dict(state)
    first = after // 7
    rest = list(delivered(resumed, 3 - first, first))
    assert rest == steps[after:]


@pytest.mark.parametrize("name", ["hugging face", "shuffled", "own state", "loader"])
def test_workers_change_nothing(name: str) -> None:
    options: dict[str, Any] = {"batches": "homogeneous", "sampling": Explicit({"s": 2.0, "rows": 1.0})}
    alone, ahead = fed(name, **options).train_dataloader(), fed(name, **options, num_workers=2).train_dataloader()
    steps, given = list(delivered(alone)), delivered(ahead)
    assert list(islice(given, 3)) == steps[:3]
    saved = copy.deepcopy(ahead.state_dict())  # while two workers have read ahead
    assert [*given] == steps[3:]
    alone.load_state_dict(saved)
    assert list(delivered(alone)) == steps[3:]


def test_looking_at_the_first_rows_uses_none_of_them_up() -> None:
    """What knows where it stands would go on from the last row that was looked at."""
    many = numbered(10_001)
    for stream in (Kept(many), iter(many), (row for row in many)):
        source = Source(stream)
        assert len(source.splits["train"]) == 10_000
        assert source.rows is None
        assert read(source.flow(8, "s", 0, 1), 3) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["text", "words", "table", "image", "own columns"])
def test_rows_of_a_stream_become_what_rows_by_number_become(kind: str, trainer: TrainerMaker) -> None:
    """Texts with a tokenizer, words, tables, images: heads, scales and names are those of the first rows."""
    of = KINDS[kind]
    given, targets = of.rows(), list(of.targets)
    made, learned = [], []
    for data in (given, Lines(given)):
        torch.manual_seed(0)
        model = MultiTaskModule([Task(target) for target in targets], of.encoder())
        source = Source(data, **of.inputs)
        trainer().fit(model, MultiTaskDataModule({"s": source}, batch_size=6, summary=False))
        inputs = model.inputs["s"]
        by_number = source.examples("train", inputs, targets)[[*range(3, 9)]]
        made.append(by_number)
        if source.stream is not None:
            made.append(source.given(inputs, targets)[[*enumerate(given)][3:9]])
        heads = {task.name: (repr(task.head), getattr(task.head, "names", None)) for task in model.tasks}
        learned.append((heads, [repr(vars(part)) for part in inputs.parts if kind == "table"]))
    assert learned[0] == learned[1]
    assert set(made[0]) >= set(targets)
    for other in made[1:]:
        assert set(other) == set(made[0])
        for name, value in made[0].items():
            assert torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]


def test_class_labels_keep_their_names(trainer: TrainerMaker) -> None:
    kinds = Features({"x": List(Value("float32")), "mood": ClassLabel(names=["sad", "so-so", "happy"])})
    given, held = ([{"x": row["x"], "mood": row["sign"]} for row in rows(30, seed)] for seed in (0, 1))
    stream = datasets.Dataset.from_list(given, features=kinds).to_iterable_dataset(num_shards=2)
    made = MultiTaskModule([Task("mood")], encoder())
    trainer().fit(made, MultiTaskDataModule({"s": {"train": stream, "validation": hugging(held)}}, batch_size=8))
    head = made.tasks[0].head
    assert isinstance(head, Multiclass)
    assert head.names == ["sad", "so-so", "happy"]  # "happy" has no row


def test_class_labels_among_features_name_categories(trainer: TrainerMaker) -> None:
    kinds = Features({"age": Value("float32"), "city": ClassLabel(names=["Rome", "Oslo"]), "buys": Value("bool")})
    given = [{"age": float(i), "city": i % 2, "buys": i > 10} for i in range(20)]
    stream = datasets.Dataset.from_list(given, features=kinds).to_iterable_dataset()
    made = MultiTaskModule([Task("buys")], HardSharing(Tabular(4)))
    trainer().fit(made, MultiTaskDataModule({"s": Source(stream, features=["age", "city"])}, batch_size=8))
    part: Any = made.inputs["s"].parts[0]
    assert len(part.names()) == 3


def test_every_row_of_a_validation_split_that_is_an_iterable_is_read_once() -> None:
    for of in (Lines(numbered()), hugging(), (row for row in numbered()), DataLoader(Lines(numbered()), 2)):
        data = MultiTaskDataModule({"s": {"train": numbered(), "validation": of}}, batch_size=4)
        data.setup("fit")
        for _ in range(2):
            assert [row for batch in data.val_dataloader() for row in batch["s"]["id"].tolist()] == [*range(COUNT)]


def test_a_ready_loader_keeps_its_batch_size_and_its_collate() -> None:
    def collate(of: list[Any]) -> dict[str, Tensor]:
        return columns(of) | {"mean": torch.full((len(of),), sum(row["id"] for row in of) / len(of))}

    data = MultiTaskDataModule({"s": DataLoader(Lines(numbered(12)), batch_size=4, collate_fn=collate)}, batch_size=7)
    data.setup("fit")
    batches = [batch["s"] for batch in data.train_dataloader()]
    assert [batch["id"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert [batch["mean"].unique().item() for batch in batches] == [1.5, 5.5, 9.5]


# Under a Trainer


def pair(size: Any = None, many: int = 30) -> dict[str, Any]:
    """Two sources, each with a task; "sign" is a stream."""
    made: dict[str, Any] = {}
    for seed, (name, length) in enumerate({"sign": many, "size": 18}.items()):
        held = splits(length, seed)
        made[name] = {split: [{"x": row["x"], name: row[name]} for row in of] for split, of in held.items()}
    made["sign"]["train"] = hugging(made["sign"]["train"])
    return made if size is None else {**made, "size": size}


def two(names: Sequence[str] | None = None) -> MultiTaskModule:
    made = {"sign": Task("sign", head=Multiclass(2)), "size": Task("size", head=Regression())}
    return module([made[name] for name in names or made])


@pytest.mark.parametrize("batches", BATCHES)
def test_a_stream_beside_rows_trains_and_evaluates(batches: Batches, trainer: TrainerMaker) -> None:
    made, data = two(), MultiTaskDataModule(pair(), batch_size=6, batches=batches, summary=False)
    before = copy.deepcopy(made.state_dict())
    run = trainer(max_epochs=2)
    run.fit(made, data)
    assert data.sampler is not None
    assert run.global_step == data.sampler.delivered.step == 2 * len(data.sampler)
    assert min(data.sampler.drawn_rows(name) for name in ("sign", "size")) > 0
    for name, value in made.state_dict().items():
        assert not value.is_floating_point() or not torch.equal(value, before[name])
    assert {"validate/sign/loss", "validate/size/loss"} <= set(run.callback_metrics)
    (tested,) = run.test(made, data, verbose=False)
    assert {"test/sign/accuracy", "test/size/r2"} <= set(tested)


def test_what_is_known_of_a_stream_is_printed(trainer: TrainerMaker, capsys: pytest.CaptureFixture[str]) -> None:
    given = pair()
    given["size"]["train"] = Lines(given["size"]["train"])
    trainer().fit(two(), MultiTaskDataModule(given, batch_size=6, steps_per_epoch=5))
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    share = sum(row["sign"] for row in given["sign"]["train"]) / 30
    assert lines[0][3:] == ["train", "validation", "classes", "majority", "labelled", "draws/epoch"]
    assert lines[2] == [
        "sign",
        "sign",
        "Multiclass",
        "stream",
        "20",
        "2",
        f"{max(share, 1 - share):.1%}",
        "100.0%",
        "30",
    ]
    assert lines[3] == ["size", "size", "Regression", "stream", "20", "-", "-", "100.0%", "30"]
    assert "Source 'size': a resumed run reads the rows of the pass again up to where it stood." in said
    assert "Source 'size': with several processes each reads all rows and keeps its part." in said
    assert "Source 'sign':" not in said  # it is resumed exactly, and split over ranks


def long(sources: dict[str, Any], **options: Any) -> MultiTaskDataModule:
    """Feed a single stream of unknown length."""
    return MultiTaskDataModule(sources, **{"batches": "homogeneous", "summary": False, **options})


def test_a_stream_without_an_end(trainer: TrainerMaker, capsys: pytest.CaptureFixture[str]) -> None:
    made, data = module(), long({"s": Endless()}, batch_size=8, steps_per_epoch=4, summary=True)
    run = trainer(max_epochs=2)
    run.fit(made, data)
    assert run.global_step == 8
    assert data.sampler is not None
    assert data.sampler.drawn_rows("s") == 64
    (row,) = (line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("sign "))
    assert row[3:] == ["stream", "-", "2", "50.0%", "100.0%", "32"]


LONG = 10_001
"""Rows of a stream that is longer than what is looked at before training."""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {},
            r"`steps_per_epoch` must be a number where a source does not know its rows.*'sign': nan.*Source\(..., rows=\)",
        ),
        (
            {"sampling": Proportional(), "steps_per_epoch": 5},
            r"Proportional\(\) needs the number of rows of every source, but that of \['sign'\] .* Give Source\(..., rows=...\)",
        ),
    ],
)
def test_what_needs_the_rows_of_a_stream_asks_for_them(
    options: dict[str, Any], says: str, trainer: TrainerMaker
) -> None:
    given = pair()
    given["sign"]["train"] = Lines([{"x": row["x"], "sign": row["sign"]} for row in rows(LONG)])
    with pytest.raises(ValueError, match=says):
        trainer().fit(two(), MultiTaskDataModule(given, batch_size=1000, summary=False, **options))
    data = MultiTaskDataModule(
        {**given, "sign": Source(given["sign"], rows=LONG)}, batch_size=1000, summary=False, **options
    )
    run = trainer()
    run.fit(two(), data)
    assert run.global_step == options.get("steps_per_epoch", 11)  # passes of 1,000 rows each but the last


@pytest.mark.parametrize(
    ("names", "last", "says"),
    [
        ("ab", "c", r"must be one of \['a', 'b'\]; in a batch of source 's', row 0 has 'c'"),
        ([0, 1], 2, "must be .*; in a batch of source 's', row 0 has 2"),
        ([1, 2], 7, "must be .*; in a batch of source 's', row 0 has 7"),
        ("ab", None, None),
    ],
)
def test_a_class_that_comes_after_the_first_rows_is_named(
    names: Sequence[Any], last: Any, says: str | None, trainer: TrainerMaker
) -> None:
    given = [{"x": row["x"], "mood": names[row["sign"]]} for row in rows(LONG)]
    given[-1]["mood"] = last
    made = MultiTaskModule([Task("mood")], encoder())
    data = long({"s": Lines(given)}, batch_size=1000, steps_per_epoch=11)
    run = trainer()
    if says is None:
        run.fit(made, data)
        assert run.global_step == 11
    else:
        with pytest.raises(ValueError, match="Task 'mood': a label in column 'mood' " + says):
            run.fit(made, data)
        assert run.global_step == 10


def test_scales_are_those_of_the_first_rows(trainer: TrainerMaker) -> None:
    given: list[dict[str, Any]] = [{"age": float(i % 5), "buys": i % 5 > 2} for i in range(LONG - 1)]
    given.append({"age": 1e9, "buys": True})
    made = MultiTaskModule([Task("buys")], HardSharing(Tabular(4)))
    source = Source(Lines(given), features=["age"])
    trainer().fit(made, long({"s": source}, batch_size=500, steps_per_epoch=2))
    part: Any = made.inputs["s"].parts[0]
    assert part.learned[0]["mean"] == pytest.approx(2.0)


# Rows that do not fit


def bad(at: int, row: Any, many: int = 30) -> Lines:
    given: list[Any] = rows(many)
    given[at] = row
    return Lines(given)


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (lambda: bad(20, {"sign": 1, "size": 0.5}), r"Source 's', split 'train': Column 'x' must have a value in every row, got none in row 20"),
        (lambda: bad(20, ["no mapping"]), "Rows of a source must be mappings of columns, got list as row 20. Give `collate`"),
        (lambda: bad(0, "no mapping"), "Rows of a source must be mappings of columns, got str as row 0. Give `collate`"),
        (lambda: Lines([*rows(20), *([1.0, 2.0])]), "Rows of a source must be mappings of columns, got float as row 20"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_named_before_the_first_step(
    stream: Callable[[], Any], says: str, trainer: TrainerMaker
) -> None:
    run = trainer()
    with pytest.raises(ValueError, match=says):
        run.fit(module(), MultiTaskDataModule({"s": stream()}, batch_size=8, summary=False))
    assert run.global_step == 0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"sign": 1, "size": 0.5}, r"Source 's', in a batch: Column 'x' must be in row 10000, got columns \['sign', 'size'\]"),
        ({"X": [0.0] * 4, "sign": 1}, r"Column 'x' must be in row 10000, .* Did you mean 'X'\?|Add it"),
        ([1.0], r"Source 's', in a batch: Row 10000 must be \{column: value\}, got list. Give mappings, or `collate`"),
        ({"x": None, "sign": 1, "size": 0.5}, "Column 'x' must have a value in every row, got none in row 10000"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_named_when_they_come(row: Any, says: str, trainer: TrainerMaker) -> None:
    data = long({"s": bad(LONG - 1, row, LONG)}, batch_size=1250, steps_per_epoch=9)
    run = trainer()
    with pytest.raises(ValueError, match=says):
        run.fit(module(), data)
    assert run.global_step == 8


def test_a_target_that_rows_lack_is_one_without_a_label(trainer: TrainerMaker) -> None:
    """As in a list of rows; also where the first row of a batch lacks it, or all of them."""
    given = rows(12)
    for row in (0, 4, 5, 6, 7):
        del given[row]["size"]
    labelled: list[Any] = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            of = batch["s"][ROWS].get("size")
            labelled.append(None if of is None else of.tolist())

    data = MultiTaskDataModule({"s": Lines(given)}, batch_size=4, summary=False)
    trainer(callbacks=[Watch()]).fit(module(), data)
    assert labelled == [[1, 2, 3], [], None]  # none is noted where all have one


# Twins


@pytest.mark.parametrize("batches", BATCHES)
def test_twins_read_the_rows_of_the_network_for_all(batches: Batches, trainer: TrainerMaker) -> None:
    seen: dict[str, list[dict[str, Tensor]]] = {}

    class Watch(L.Callback):
        def __init__(self, name: str) -> None:
            self.steps = seen.setdefault(name, [])

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            self.steps.append({name: part["x"] for name, part in batch.items()})

    data = MultiTaskDataModule(pair(), batch_size=6, batches=batches, summary=False)
    found = compare(two, data, lambda name: trainer(max_epochs=2, callbacks=[Watch(name)]), seeds=[3])
    assert [task.task for task in found.tasks] == ["sign", "size"]
    together = torch.cat([step["sign"] for step in seen["multi-task/seed3"] if "sign" in step])
    alone = torch.cat([step["sign"] for step in seen["sign/seed3"]])
    shared = min(len(together), len(alone))
    assert abs(len(together) - len(alone)) <= 6 * 2  # the number of steps of each epoch is rounded
    assert_close(alone[:shared], together[:shared])


def test_twins_cannot_read_a_generator_anew(trainer: TrainerMaker) -> None:
    given = pair()
    given["sign"]["train"] = (row for row in given["sign"]["train"])
    data = MultiTaskDataModule(given, batch_size=6, summary=False)
    says = r"`data` must give each network the same rows, got generators, which can be read once, for \['sign'\]"
    with pytest.raises(ValueError, match=says):
        compare(two, data, lambda _: trainer(), seeds=[0])
    with pytest.raises(ValueError, match=says):
        score(two, data, lambda _: trainer(), seeds=[0, 1])


def test_what_a_generator_gave_is_not_given_again() -> None:
    flow = Flow(Once(iter(range(9))), 2, name="g")
    state = flow.state_dict()
    flow.take(0, 4)
    with pytest.raises(
        ValueError, match=r"Source 'g' must give rows again from number 0 on.* a generator that has given 4"
    ):
        flow.load_state_dict(state)


@pytest.mark.parametrize("seed", [3, None])
def test_a_stream_that_comes_in_another_order_is_no_resume(seed: int | None) -> None:
    """Shuffled without a seed, every process has an order of its own; the guard over ranks compares the same."""
    made = []
    for _ in range(2):
        rows_of = datasets.Dataset.from_dict({"x": [float(i) for i in range(40)]}).to_iterable_dataset()
        shuffled = rows_of.shuffle(seed=seed, buffer_size=20)
        data = MultiTaskDataModule({"s": {"train": shuffled}}, batch_size=4, summary=False)
        data.setup("fit")
        made.append(data.train_dataloader())
    if seed is not None:
        made[1].load_state_dict(made[0].state_dict())
        return
    with pytest.raises(ValueError, match="must be of the same first rows of streams"):
        made[1].load_state_dict(made[0].state_dict())


def test_an_epoch_of_a_generator_ends_with_its_last_whole_batch(trainer: TrainerMaker) -> None:
    data = MultiTaskDataModule({"s": {"train": iter(rows(19))}}, batch_size=4, summary=False)
    run = trainer()
    run.fit(module(), data)
    assert run.global_step == 4
