"""Episodes: what is drawn, that nothing meets that must not, and that a run goes on where it stopped."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_mtl import EpisodeDataModule, HardSharing, MetaLearningModule, Multiclass, Regression, Source, Task
from lightning_mtl.families import Family, Harmonic, Sinusoid, SinusoidAndLine
from lightning_mtl.meta._classes import classes_of
from lightning_mtl.meta._episodes import labelled_episodes
from lightning_mtl.samplers import EpisodeSampler
from tests.meta.episodes import QUIET, fit, for_rows, for_waves, kinds, of_rows, of_waves, on_rank, splits, trunk

SIZES = [7, 9, 12, 30, 8]
ROWS = {f"c{i}": list(range(100 * i, 100 * i + size)) for i, size in enumerate(SIZES)}


def sampler(**options: Any) -> EpisodeSampler:
    given: dict[str, Any] = {"ways": 3, "shots": 2, "queries": 4, "seed": 5, **options}
    return EpisodeSampler(ROWS, **given)


# Theorems of a sampler


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("shots", [1, 3, (1, 3)])
def test_an_episode_is_whole(balanced: bool, shots: Any) -> None:
    of = sampler(balanced=balanced, shots=shots)
    for number in range(50):
        episode = of.episode("train", 3, number)
        assert not {*episode.support} & {*episode.query}
        assert len({*episode.support}) == len(episode.support)
        assert len({*episode.query}) == len(episode.query) == 12
        rows = np.concatenate([episode.support, episode.query])
        labels = np.concatenate([episode.support_labels, episode.query_labels])
        classes = {label: {*(rows[labels == label] // 100)} for label in range(3)}
        assert all(len(found) == 1 for found in classes.values())
        assert len(set().union(*classes.values())) == 3
        assert {*episode.support_labels} == {0, 1, 2}
        counts = np.bincount(episode.support_labels)
        assert not balanced or len({*counts}) == 1
        low, high = (shots, shots) if isinstance(shots, int) else shots
        assert 3 * low <= len(episode.support) <= 3 * high


def test_natural_episodes_hold_classes_as_they_come() -> None:
    of = EpisodeSampler(
        {"few": range(0, 10), "many": range(100, 190)}, ways=2, shots=5, queries=5, balanced=False, seed=1
    )
    drawn = [of.episode("train", 0, number) for number in range(200)]
    share = np.mean([np.mean(episode.query < 100) for episode in drawn])
    assert 0.05 < share < 0.15  # a tenth of the rows


def test_an_episode_depends_on_seed_split_step_and_number_alone() -> None:
    keys = [(s, split, step, n) for s in (0, 1) for split in ("train", "test") for step in (0, 1) for n in (0, 1)]
    drawn = {key: sampler(seed=key[0]).episode(*key[1:]).support.tolist() for key in keys}
    assert drawn == {key: sampler(seed=key[0]).episode(*key[1:]).support.tolist() for key in reversed(keys)}
    assert len({str(rows) for rows in drawn.values()}) == len(keys)


def test_every_class_and_every_place_is_drawn_alike() -> None:
    of = EpisodeSampler({str(i): range(10 * i, 10 * i + 10) for i in range(6)}, ways=3, shots=1, queries=1, seed=0)
    firsts = [of.episode("train", 0, n) for n in range(1200)]
    first = [episode.support[episode.support_labels == 0][0] // 10 for episode in firsts]
    counts = np.bincount(first, minlength=6)
    assert counts.min() > 150  # 200 expected, deviation 13


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ways": 6}, "`ways` must be at most the 5 classes there are, got 6"),
        (
            {"shots": 4, "queries": 5},
            r"Each class must have 9 rows, `shots` \+ `queries`, got fewer in 2 of 5: {'c0': 7, 'c4': 8}",
        ),
        ({"ways": 0}, "`ways` must be a whole number of at least 1, got 0"),
        ({"queries": 0}, "`queries` must be a whole number of at least 1, got 0"),
        ({"shots": (3, 1)}, "`shots` must be two numbers of which the second is not below the first"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sampler(**options)


# Families


@pytest.mark.parametrize(
    "family", [Sinusoid(), Sinusoid(frequency=(0.8, 1.2), noise=0.3), SinusoidAndLine(), Harmonic()]
)
def test_a_family_draws_functions(family: Family) -> None:
    drawn = family.episodes(50, 7, 9, torch.Generator().manual_seed(3))
    again = family.episodes(50, 7, 9, torch.Generator().manual_seed(3))
    for part, points in (("support", 7), ("query", 9)):
        assert drawn[part]["x"].shape == (50, points, 1)
        assert drawn[part]["y"].shape == (50, points)
        assert torch.equal(drawn[part]["y"], again[part]["y"])
    assert drawn["query"]["y"].std(0).min() > 0.1  # functions differ


def test_a_wave_has_the_amplitude_that_was_drawn() -> None:
    family, draw = Sinusoid(amplitude=(2.0, 2.0)), torch.Generator().manual_seed(0)
    x = torch.linspace(-5, 5, 1001).expand(20, -1)
    top = family.value(family.draw(20, draw), x).amax(1)
    assert torch.allclose(top, torch.full((20,), 2.0), atol=1e-3)
    lines = SinusoidAndLine()
    drawn = lines.draw(300, draw)
    bent = lines.value(drawn, x[:1, ::50].expand(300, -1)).diff(n=2).abs().amax(1) > 1e-3
    assert torch.equal(bent, ~drawn["line"].squeeze(1))


def test_a_range_that_falls_is_refused() -> None:
    with pytest.raises(ValueError, match="`amplitude` must be two numbers of which the second is not below the first"):
        Sinusoid(amplitude=(5.0, 0.1))
    with pytest.raises(ValueError, match="`noise` must be finite and at least 0"):
        Sinusoid(noise=-1.0)


# The data module


def supports(data: EpisodeDataModule, count: int) -> list[Tensor]:
    """Read the first column of the supports of some steps."""
    found: list[Tensor] = []
    while len(found) < count:
        for batch in data.train_dataloader():
            ((part),) = batch.values()
            found.append(part["support"]["x"].clone())
    return found[:count]


def ready(data: EpisodeDataModule, stage: str = "fit") -> EpisodeDataModule:
    data.setup_for(for_rows() if "rows" in data.sources else for_waves(), stage)
    return data


@pytest.mark.parametrize("make", [of_rows, of_waves])
def test_ranks_draw_together_what_one_process_draws(make: Any) -> None:
    whole = next(iter(ready(make(episodes=6)).train_dataloader()))
    ((name, all_of_it),) = whole.items()
    parts = []
    for rank in range(3):
        data = on_rank(ready(make(episodes=2)), rank, 3)
        parts.append(next(iter(data.train_dataloader()))[name])
    for half in ("support", "query"):
        for column in ("x", "kind" if name == "rows" else "y"):
            joined = torch.stack([part[half][column] for part in parts], 1).flatten(0, 1)
            assert torch.equal(joined, all_of_it[half][column])
    flat = [part["support"]["x"][i] for part in parts for i in range(2)]
    assert not any(torch.equal(a, b) for a, b in combinations(flat, 2))


@pytest.mark.parametrize("make", [of_rows, of_waves])
def test_tests_are_the_same_in_each_pass_and_sharded_by_rank(make: Any) -> None:
    data = ready(make(), "test")
    name = next(iter(data.sources))
    passes = [torch.cat([b[name]["query"]["x"] for b in data.test_dataloader()]) for _ in range(2)]
    assert len(passes[0]) == 10
    assert torch.equal(*passes)
    cut = []
    for rank in range(3):
        other = on_rank(ready(make(), "test"), rank, 3)
        cut.append(torch.cat([b[name]["query"]["x"] for b in other.test_dataloader()]))
    assert [len(part) for part in cut] == [4, 3, 3]
    assert torch.equal(torch.stack([cut[i % 3][i // 3] for i in range(10)]), passes[0])


def test_workers_change_nothing() -> None:
    alone = list(ready(of_rows()).train_dataloader())
    workers = list(ready(of_rows(num_workers=2)).train_dataloader())
    for a, b in zip(alone, workers, strict=True):
        assert torch.equal(a["rows"]["query"]["x"], b["rows"]["query"]["x"])
        assert torch.equal(a["rows"]["query"]["kind"], b["rows"]["query"]["kind"])


def test_an_epoch_draws_other_episodes_than_the_last_one() -> None:
    data = ready(of_rows(steps_per_epoch=2))
    loader = data.train_dataloader()
    first, second = ([b["rows"]["support"]["x"] for b in loader] for _ in range(2))
    assert len(first) == len(second) == 2
    assert not torch.equal(first[0], second[0])
    assert loader.state_dict() == {"delivered": 4}


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_resumed_within_an_epoch_sees_the_same_episodes(workers: int, tmp_path: Any) -> None:
    """Weights after six steps are those of a run that was stopped after four, and resumed with other workers."""
    whole, rest = for_rows(), for_rows(seed=7)
    keep = ModelCheckpoint(tmp_path, filename="four", every_n_train_steps=4)
    fit(whole, of_rows(), max_epochs=2, callbacks=[keep], enable_checkpointing=True)
    again = ModelCheckpoint(tmp_path, filename="four", every_n_train_steps=4)
    trainer = L.Trainer(**{**QUIET, "enable_checkpointing": True}, max_epochs=2, callbacks=[again])
    trainer.fit(rest, of_rows(num_workers=workers), ckpt_path=tmp_path / "four.ckpt", weights_only=False)
    assert trainer.global_step == 6
    for (name, a), b in zip(whole.state_dict().items(), rest.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_fast_run_overfits_its_first_steps() -> None:
    watch = Watch()
    fit(for_rows(), of_rows(), max_epochs=3, overfit_batches=1, callbacks=[watch])
    assert len(watch.seen) == 3
    assert torch.equal(watch.seen[0], watch.seen[1])
    assert torch.equal(watch.seen[0], watch.seen[2])


class Watch(L.Callback):
    """Keeps the supports of training."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.seen.append(batch["rows"]["support"]["x"].clone())


# Bad data


def test_classes_that_meet_in_two_splits_are_refused() -> None:
    data = EpisodeDataModule({"rows": {"train": kinds(6), "test": kinds(4, first=4)}}, ways=3, queries=2)
    with pytest.raises(
        ValueError, match=r"no class of column 'kind' in two splits, .* 'train' and 'test' both have \['k4', 'k5'\]"
    ):
        ready(data)


def test_too_few_rows_are_refused_with_source_and_split() -> None:
    data = EpisodeDataModule({"rows": splits(each=4)}, ways=3, shots=2, queries=5)
    with pytest.raises(ValueError, match="Source 'rows', split 'train': Each class must have 7 rows"):
        ready(data)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            Task("kind", head=Multiclass(4)),
            "`head` of task 'kind' must have as many classes as an episode has `ways`, 3, got Multiclass with 4",
        ),
        (Task("kind", "others"), "Task 'kind' reads source 'others'; sources are"),
    ],
)
def test_tasks_that_do_not_fit_are_refused(task: Task, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        of_rows().setup_for(MetaLearningModule([task], trunk()), "fit")


def test_a_family_is_read_at_its_values() -> None:
    with pytest.raises(ValueError, match="`target` of task 'wave' must be 'y', the values of a family of functions"):
        of_waves().setup_for(MetaLearningModule([Task("wave")], trunk(1)), "fit")


@pytest.mark.parametrize("name", ["episodes", "steps_per_epoch", "validation_episodes", "test_episodes"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 1, got 0"):
        of_rows(**{name: 0})


def test_rows_without_a_class_are_of_none() -> None:
    assert classes_of([float("nan"), 1, -100, None, 1]) == {"1": [1, 4]}


def test_tasks_that_code_a_column_in_different_ways_each_see_it_as_it_is() -> None:
    tasks = [Task("kind", target="y", head=Multiclass(3, names=[2, 4, 8])), Task("y", head=Regression())]
    half = {"x": torch.randn(2, 3, 1), "y": torch.tensor([[2, 4, 8], [8, 8, 2]])}
    query = labelled_episodes({"support": half, "query": half}, tasks, "s")["query"]
    assert tasks[0].labels_in(query).tolist() == [[0, 1, 2], [2, 2, 0]]
    assert tasks[1].labels_in(query).tolist() == half["y"].tolist()


@pytest.mark.parametrize(("size", "told"), [(None, True), (10_400, True), (10_000, False)])
def test_rows_of_a_stream_that_no_episode_has_are_told(size: int | None, told: bool) -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter({"x": [float(i), 1.0], "kind": "abc"[i % 3]} for i in range(size or 10_400))

    data = EpisodeDataModule({"s": Source(Stream(), rows=size)}, ways=2, shots=1, queries=1, summary=False)
    module = MetaLearningModule([Task("kind")], HardSharing(nn.Linear(2, 4), width=4))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        data.setup_for(module, "fit")
    assert any("the first 10,000 were read" in str(of.message) for of in found) is told
