"""Sources that are read as streams: the same rules, nothing lost, a resume that reads on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import datasets
import pytest
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader, IterableDataset

from lightning_mtl import BagOfWords, HardSharing, MultiTaskDataModule, MultiTaskModule, Source, Task
from lightning_mtl.comparison import compare
from lightning_mtl.inputs import Inputs, Plain
from lightning_mtl.samplers import Exp3S, Flow, Once, Proportional, Temperature

from .builders import columns, module, rows, splits
from .conftest import TrainerMaker

ROWS = 20


class Again(IterableDataset[int]):
    """Numbers that can be read again and again, in an order of each pass."""

    def __init__(self, count: int = ROWS) -> None:
        self.count, self.passed = count, 0

    def set_epoch(self, number: int) -> None:
        self.passed = number

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(self.passed))
        return iter(order.tolist())


class Stateful(Again):
    """The same, which knows where it stands."""

    def __init__(self, count: int = ROWS) -> None:
        super().__init__(count)
        self.given = self.start = 0

    def __iter__(self) -> Iterator[int]:
        self.given, self.start = self.start, 0
        for number in list(super().__iter__())[self.given :]:
            self.given += 1
            yield number

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["given"]


def hugging_face(count: int = ROWS, shards: int = 4) -> datasets.IterableDataset:
    return datasets.Dataset.from_dict({"n": list(range(count))}).to_iterable_dataset(num_shards=shards)


def numbers(flow: Flow, counts: list[int], rank: int = 0, ranks: int = 1) -> list[list[Any]]:
    taken, place = [], 0
    for count in counts:
        taken.append([row["n"] if isinstance(row, dict) else row for _, row in flow.take(place, count, rank, ranks)])
        place += count
    return taken


# The stream alone


@pytest.mark.parametrize("make", [Again, Stateful, hugging_face])
def test_every_pass_gives_every_row_once(make: Any) -> None:
    flow = Flow(make(), 3, saves=make is not Again)
    read = [number for of in numbers(flow, [3] * 20) for number in of]
    passes = [read[start : start + ROWS] for start in range(0, 60, ROWS)]
    assert all(sorted(of) == list(range(ROWS)) for of in passes)
    if make is not hugging_face:
        assert len({tuple(of) for of in passes}) == 3


@pytest.mark.parametrize("counts", [[8] * 5, [1, 2, 3, 5, 7, 4], [40]], ids=str)
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_keep_their_parts_of_what_one_process_reads(counts: list[int], ranks: int) -> None:
    whole = numbers(Flow(Again(), 8), counts)
    parts = [numbers(Flow(Again(), 8), counts, rank, ranks) for rank in range(ranks)]
    for step, *of in zip(whole, *parts, strict=True):
        assert of == [step[rank::ranks] for rank in range(ranks)]


@pytest.mark.parametrize("shards", [4, 3])
def test_a_stream_that_is_split_over_ranks_is_read_whole(shards: int) -> None:
    read: list[int] = []
    for rank in range(2):
        own = split_dataset_by_node(hugging_face(shards=shards), rank, 2)
        read += [n for of in numbers(Flow(own, 4, own=True, saves=True), [4] * 5, rank, 2) for n in of]
    assert sorted(read) == list(range(ROWS))


@pytest.mark.parametrize("make", [Again, Stateful, hugging_face])
@pytest.mark.parametrize("before", [0, 1, 7, 19, 20, 21, 47])
def test_a_state_goes_on_with_the_next_row(make: Any, before: int) -> None:
    first, second = (Flow(make(), 1, saves=make is not Again) for _ in range(2))
    numbers(first, [1] * before)
    state = copy.deepcopy(first.state_dict())
    rest = numbers(first, [1] * 30)
    second.load_state_dict(state)
    assert numbers(second, [1] * 30) == rest
    first.load_state_dict(state)  # back, within one process
    assert numbers(first, [1] * 30) == rest


def test_a_stream_of_the_users_own_stays_where_it_is() -> None:
    own = hugging_face()
    flow = Flow(own, 1, saves=True)
    numbers(flow, [7])
    flow.load_state_dict(flow.state_dict())
    assert next(iter(own)) == {"n": 0}


def test_a_generator_gives_its_rows_once() -> None:
    flow = Flow(Once(iter(range(5))), 2)
    assert numbers(flow, [2, 2]) == [[0, 1], [2, 3]]
    state = flow.state_dict()
    fresh = Flow(Once(iter(range(5))), 2)
    fresh.load_state_dict(state)
    assert numbers(fresh, [1]) == [[4]]
    with pytest.raises(ValueError, match="must give rows pass after pass, got an end after 5 rows of pass 0"):
        numbers(fresh, [1])
    assert any("read once" in note for note in fresh.notes)


def test_what_a_generator_gave_is_not_given_again() -> None:
    flow = Flow(Once(iter(range(9))), 2, name="g")
    state = flow.state_dict()
    numbers(flow, [2, 2])
    with pytest.raises(
        ValueError, match=r"Source 'g' must give rows again from number 0 on.* got a generator that has given 4"
    ):
        flow.load_state_dict(state)


def test_a_stream_without_rows() -> None:
    with pytest.raises(ValueError, match="got an end after 0 rows of pass 0"):
        Flow([], 2).take(0, 1)


# As a source


def stream(count: int = 60, seed: int = 0, shards: int = 3) -> datasets.IterableDataset:
    return datasets.Dataset.from_list(rows(count, seed)).to_iterable_dataset(num_shards=shards)


class Table(IterableDataset[Any]):
    def __init__(self, count: int = 60) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        return iter(rows(self.count))


STREAMS: dict[str, Any] = {
    "hugging face": stream,
    "mapped": lambda: stream().map(lambda row: {"size": 2 * row["size"]}),
    "shuffled": lambda: stream().shuffle(seed=1, buffer_size=7),
    "torch": Table,
    "generator": lambda: (row for row in rows(400)),
    "loader": lambda: DataLoader(Table(), batch_size=5, collate_fn=columns),
}


def data(source: Any, **options: Any) -> MultiTaskDataModule:
    sources = {"s": {"train": source, "validation": rows(20, 1)}}
    return MultiTaskDataModule(sources, **{"batch_size": 8, "summary": False, "steps_per_epoch": 6, **options})


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_trains_and_is_judged(name: str, trainer: TrainerMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = trainer(max_epochs=2)
    made = module()
    before = {key: value.clone() for key, value in made.state_dict().items()}
    run.fit(made, data(STREAMS[name](), summary=True))
    assert "validate/sign/accuracy" in run.callback_metrics
    assert all(not torch.equal(value, before[key]) for key, value in made.state_dict().items())
    said = capsys.readouterr().out
    assert "stream" in said
    read_again = "a resumed run reads the rows of the pass again up to where it stood"
    assert (read_again in said) is (name not in ("hugging face", "mapped"))


@pytest.mark.parametrize("name", ["hugging face", "shuffled", "torch", "loader"])
@pytest.mark.parametrize("batches", ["all", "homogeneous", "stratified", "mixed"])
def test_workers_change_nothing(name: str, batches: Any) -> None:
    read = []
    for workers in (0, 2):
        other = {"train": rows(30, 5), "validation": rows(20, 6)}
        sources = {"s": {"train": STREAMS[name]()}, "t": other}
        if name == "loader" and batches not in ("all", "homogeneous"):
            return  # it brings the size of its batches
        fed = MultiTaskDataModule(
            sources, batch_size=6, batches=batches, steps_per_epoch=9, num_workers=workers, summary=False
        )
        fed.setup("fit")
        loader = fed.train_dataloader()
        read.append([{key: of["size"].tolist() for key, of in batch.items()} for _ in range(2) for batch in loader])
    assert read[0] == read[1]
    sizes = [len(of["s"]) for of in read[0] if "s" in of]
    assert set(sizes) == {5} if name == "loader" else sum(sizes) > 20


def test_texts_and_words_and_tables_are_made_of_streams(trainer: TrainerMaker) -> None:
    texts = [{"text": f"a {word} film", "mood": mood} for word, mood in (("fine", "good"), ("dull", "bad"))] * 20
    table = [{"age": 20.0 + i, "city": "ab"[i % 2], "ill": "yn"[i % 2]} for i in range(40)]
    sources = {
        "texts": Source({"train": iter(texts * 5)}, text="text"),
        "more": Source({"train": datasets.Dataset.from_list(texts).to_iterable_dataset()}, text="text"),
    }
    made = MultiTaskModule(
        [Task("mood", "texts"), Task("again", "more", target="mood")], HardSharing(BagOfWords(16, buckets=100))
    )
    run = trainer(max_epochs=2)
    run.fit(made, MultiTaskDataModule(sources, batch_size=8, steps_per_epoch=10, summary=False))
    assert made.predict("a fine film")["mood"]["label"] in ("good", "bad")
    source = Source({"train": iter(table)}, features=["age", "city"])
    fed = MultiTaskDataModule({"t": source}, batch_size=8, steps_per_epoch=3, summary=False)
    fed.setup("fit")
    batch = next(iter(fed.train_dataloader()))
    assert batch["t"]["features"].shape[0] == 8


def test_label_names_come_from_the_features_of_a_stream(trainer: TrainerMaker) -> None:
    features = datasets.Features(
        x=datasets.List(datasets.Value("float32"), length=4), sign=datasets.ClassLabel(names=["no", "yes"])
    )
    named = datasets.Dataset.from_list([{"x": of["x"], "sign": of["sign"]} for of in rows()], features=features)
    made = MultiTaskModule([Task("sign")], module().encoder)
    trainer().fit(made, data(named.to_iterable_dataset()))
    head: Any = made.tasks[0].head
    assert list(head.names) == ["no", "yes"]


def test_a_validation_split_may_be_a_stream(trainer: TrainerMaker) -> None:
    scores = []
    for validation in (rows(20, 1), datasets.Dataset.from_list(rows(20, 1)).to_iterable_dataset()):
        run = trainer()
        run.fit(module(), MultiTaskDataModule({"s": {"train": rows(), "validation": validation}}, summary=False))
        scores.append(float(run.callback_metrics["validate/score"]))
    assert scores[0] == scores[1]


def test_rules_by_size_need_the_rows_of_a_long_stream() -> None:
    long = datasets.Dataset.from_list(rows(10_001)).to_iterable_dataset()
    for rows_known in (None, 10_001):
        sources = {"s": Source({"train": long}, rows=rows_known), "t": {"train": rows(30)}}
        fed = MultiTaskDataModule(sources, sampling=Proportional(), steps_per_epoch=5, summary=False)
        fed.setup("fit")
        if rows_known is None:
            with pytest.raises(
                ValueError, match=r"needs the number of rows of every source, but \['s'\] .*Source\(..., rows=...\)"
            ):
                fed.train_dataloader()
        else:
            assert fed.train_dataloader().sampler.rates.at(0)[0] == pytest.approx(10_001 / 10_031)  # type: ignore[union-attr]


def test_an_epoch_of_a_long_stream_needs_its_steps() -> None:
    endless = datasets.Dataset.from_list(rows(10_001)).to_iterable_dataset()
    fed = MultiTaskDataModule({"s": {"train": endless}}, summary=False)
    fed.setup("fit")
    with pytest.raises(ValueError, match="`steps_per_epoch` must be a number where a source does not know its rows"):
        fed.train_dataloader()


@pytest.mark.parametrize("rows_given", [0, -5])
def test_rows_are_counted_from_one(rows_given: int) -> None:
    with pytest.raises(
        ValueError, match="`rows` must be the number of rows of a training split that is read as a stream"
    ):
        Source({"train": stream()}, rows=rows_given)


def test_rows_of_a_dataset_that_knows_them_are_not_asked_for() -> None:
    with pytest.raises(
        ValueError, match="`rows` must be the number of rows of a training split that is read as a stream"
    ):
        Source({"train": rows()}, rows=60)


def test_a_buffer_within_a_mixture_is_found() -> None:
    mixture = datasets.concatenate_datasets([stream().shuffle(seed=1, buffer_size=7), stream(seed=1)])
    fed = data(mixture)
    fed.setup("fit")
    loader = fed.train_dataloader()
    assert any("again" in note for note in loader.sampler.streams["s"].notes)


def test_a_row_without_a_label_is_unlabelled_and_one_without_an_input_is_an_error() -> None:
    examples = Source(Table()).given(Inputs([Plain(["x"])]), ["size"])
    partial: list[Any] = list(enumerate(rows(4)))
    del partial[3][1]["size"]
    assert examples[partial]["size"].isnan().tolist() == [False, False, False, True]
    del partial[2][1]["x"]
    with pytest.raises(ValueError, match="Column 'x' must be in row 2"):
        examples[partial]


def test_twins_read_streams_too(trainer: TrainerMaker) -> None:
    sources = {name: {**splits(seed=seed), "train": stream(seed=seed)} for seed, name in enumerate(("sign", "size"))}

    def build(names: list[str] | None) -> MultiTaskModule:
        from .builders import tasks

        return module(tasks(names or ("sign", "size")))

    fed = MultiTaskDataModule(sources, batch_size=8, sampling=Temperature(), steps_per_epoch=8, summary=False)
    found = compare(build, fed, lambda run: trainer(max_epochs=2), seeds=range(2))
    assert [task.task for task in found.tasks] == ["sign", "size"]
    once = compare(build, fed, lambda run: trainer(max_epochs=2), seeds=range(2))
    assert found == once  # a stream begins anew in every run


def test_a_rule_that_follows_the_run_draws_streams(trainer: TrainerMaker) -> None:
    sources = {
        "sign": {"train": Table(), "validation": rows(20, 1)},
        "size": {"train": rows(30, 3), "validation": rows(20, 2)},
    }
    fed = MultiTaskDataModule(sources, batch_size=8, sampling=Exp3S(), steps_per_epoch=40, summary=False)
    trainer(max_epochs=3).fit(module(), fed)
    assert fed.sampler is not None
    assert fed.sampler.delivered.step == 120
