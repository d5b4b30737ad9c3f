"""Labelled datasets and families of functions in, a loader of episodes out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning as L

from .._checks import require
from .._table import table
from ..data import Source
from ..encoders import Tokenizer, Vocabulary
from ..families import Family
from ..heads import Multiclass, Regression
from ..inputs import Inputs, Plain
from ..samplers import EpisodeSampler, Shots, refuse_sizes
from ..task import Task
from ._loader import ClassEpisodes, Drawing, EpisodeLoader, EpisodePlan, FamilyEpisodes

_SPLITS = ("train", "validation", "test")
Classes = dict[str, dict[str, list[int]]]
"""{split: {class: numbers of its rows}}."""
_STAGES = {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",), "predict": ()}


class EpisodeDataModule(L.LightningDataModule):
    """Feed episodes to a `MetaLearningModule`: some examples of a task to adapt to, and others to be judged by.

    Of a labelled dataset an episode is a new task to tell some classes apart (N-way K-shot); of a family of functions it is one function.
    A step holds `episodes` of each source. Episodes are functions of the seed and the step: they do not depend on workers or ranks, each rank draws
    others, and a resumed run goes on with those that the unbroken one would have drawn. Those to validate and test by are the same
    in each pass.

    Args:
        sources: {name: source}; a source is a `Source` or dataset, {split: dataset} with classes that meet in no two splits, or a
            `Family` of functions, whose splits are drawn from different seeds.
        ways: Classes of an episode.
        shots: Examples of each class that a task is adapted to; of a function, points. Two numbers for one in between that is drawn.
        queries: Examples of each class that it is judged by; of a function, points. Default: 15; of a function, as many as `shots`.
        episodes: Episodes of each source in a step, on each process.
        steps_per_epoch: Steps in an epoch.
        validation_episodes: Episodes of each source in a validation.
        test_episodes: Episodes of each source in a test.
        balanced: Whether each class of an episode has as many examples; else they come as they are in the data.
        seed: Makes other episodes. Default: that of `seed_everything`, or 0.
        num_workers: Processes that read ahead.
        tokenizer: Turns texts into tensors. Default: the encoder's.
        summary: Whether to print what there is to draw from before training.

    Raises:
        ValueError: There is no source, or a number is out of its range; in `setup`, more ways than classes, a class with too few examples, or one that is in two splits.

    Example:
        >>> rows = [{"x": [float(i % 6), float(i)], "kind": "abcdef"[i % 6]} for i in range(60)]
        >>> from lightning_mtl import HardSharing, MetaLearningModule, Task
        >>> from torch import nn
        >>> data = EpisodeDataModule({"numbers": rows}, ways=3, shots=2, queries=4, episodes=8, steps_per_epoch=2, summary=False)
        >>> module = MetaLearningModule([Task("kind")], HardSharing(nn.Linear(2, 8), width=8))
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> L.Trainer(max_epochs=1, enable_model_summary=False, accelerator="cpu", **quiet).fit(module, data)
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["numbers"]["support"]["x"].shape, batch["numbers"]["query"]["kind"].shape
        (torch.Size([8, 6, 2]), torch.Size([8, 12]))
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        *,
        ways: int = 5,
        shots: Shots = 1,
        queries: int | None = None,
        episodes: int = 4,
        steps_per_epoch: int = 100,
        validation_episodes: int = 100,
        test_episodes: int = 600,
        balanced: bool = True,
        seed: int | None = None,
        num_workers: int = 0,
        tokenizer: Tokenizer | None = None,
        summary: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(sources, Mapping):
            raise TypeError(f"`sources` must be {{name: source}}, got {type(sources).__name__}. Name the datasets.")
        if not sources:
            raise ValueError("`sources` must name at least one dataset or family, got none.")
        refuse_sizes(ways, shots, 1 if queries is None else queries)
        least = {"episodes": 1, "steps_per_epoch": 1, "validation_episodes": 1, "test_episodes": 1, "num_workers": 0}
        given = {
            "episodes": episodes,
            "steps_per_epoch": steps_per_epoch,
            "validation_episodes": validation_episodes,
            "test_episodes": test_episodes,
            "num_workers": num_workers,
        }
        for name, value in given.items():
            require(value >= least[name], name, f"at least {least[name]}", value, "Raise it.")
        require(seed is None or seed >= 0, "seed", "at least 0", seed, "Leave it out for that of `seed_everything`.")
        self.sources: dict[str, Source | Family] = {
            name: data if isinstance(data, Source | Family) else Source(data) for name, data in sources.items()
        }
        self.ways, self.shots, self.queries = ways, shots, queries
        self.episodes, self.steps_per_epoch = episodes, steps_per_epoch
        self.totals = {"validation": validation_episodes, "test": test_episodes}
        self.balanced, self.seed, self.num_workers = balanced, seed, num_workers
        self.tokenizer, self.summary = tokenizer, summary
        self._drawings: dict[str, dict[str, Drawing]] = {}
        self._training: EpisodeLoader | None = None
        self._resumed: Mapping[str, int] | None = None

    def setup(self, stage: str) -> None:
        """Read the splits of this stage, and check that episodes can be drawn from them.

        Raises:
            ValueError: What is wrong with which source, and what to do.
        """
        self.setup_for(getattr(self.trainer, "lightning_module", None), stage)

    def setup_for(self, module: Any, stage: str = "test") -> None:
        """Read the splits of a stage for a module without a Trainer; see `setup`.

        Args:
            module: The module.
            stage: "fit", "validate" or "test".
        """
        tasks: Sequence[Task] = getattr(module, "tasks", ())
        reads = {name: self._reader(name, tasks) for name in self.sources}
        inputs = {name: self._inputs(name, task, module) for name, task in reads.items()}
        classes = {name: self._classes(name, task) for name, task in reads.items() if _STAGES[stage]}
        for split in _STAGES[stage]:
            self._drawings[split] = {
                name: self._drawing(name, split, task, inputs[name], classes[name])
                for name, task in reads.items()
                if self._has(name, split)
            }
            if not self._drawings[split] and (split, stage) != ("validation", "fit"):
                raise ValueError(
                    f"No source has the split {split!r}; splits are out of {list(_SPLITS)}. Add it to a source."
                )
        if stage == "fit":
            self._training = self._resumed = None  # of an earlier fit
            self.__dict__.pop("val_dataloader", None)
            if not self._drawings["validation"]:  # Lightning skips validation only where no such method is defined
                self.val_dataloader = super().val_dataloader  # type: ignore[method-assign]
        if module is not None and stage != "predict":
            module.inputs = inputs
            bound = {task.name: name for name, task in reads.items()}
            module.routing.bind(list(self.sources), bound, every_task_every_step=True)
        if stage == "fit" and self.summary and self.trainer is not None and self.trainer.is_global_zero:
            print(self._table())

    def train_dataloader(self) -> EpisodeLoader:
        """Loader of new episodes in each step."""
        rank, ranks = self._ranks()
        count = self.episodes * ranks
        share = getattr(self.trainer, "overfit_batches", 0) if self.trainer is not None else 0
        frozen = share if isinstance(share, int) else round(share * self.steps_per_epoch)

        def plans(first: int) -> Iterator[EpisodePlan]:
            for step in range(first, first + self.steps_per_epoch):
                yield step % frozen if frozen else step, count, range(rank, count, ranks)

        known = self.state_dict() or self._resumed  # of a loader that is made anew, or of a checkpoint
        self._training = EpisodeLoader(
            self._there("train"), "train", plans, self.steps_per_epoch, num_workers=self.num_workers
        )
        if known is not None:
            self._training.load_state_dict(known)
        return self._training

    def val_dataloader(self) -> Any:
        """Loader of the episodes to validate by."""
        return self._judging("validation")

    def test_dataloader(self) -> Any:
        """Loader of the episodes to test by."""
        return self._judging("test")

    def state_dict(self) -> dict[str, Any]:
        """Give how many steps of training were handed out."""
        return {} if self._training is None else self._training.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the last step of training that was handed out."""
        self._resumed = state_dict or None

    # Sources

    def _reader(self, name: str, tasks: Sequence[Task]) -> Task:
        found = [task for task in tasks if task.resolve(self.sources) == name]
        if len(found) != 1:
            raise ValueError(
                f"Source {name!r} must be read by one task, whose `target` says what is to be learned, got {[task.name for task in found]}. "
                f"Name it there: Task(name, {name!r}), or leave the source out."
            )
        task, source = found[0], self.sources[name]
        if isinstance(source, Family) and task.column != "y":
            raise ValueError(
                f"`target` of task {task.name!r} must be 'y', the values of a family of functions, got {task.column!r}. Give "
                f"Task({task.name!r}, target='y')."
            )
        if task.head is None:
            task.take(Regression() if isinstance(source, Family) else Multiclass(self.ways))
        if not isinstance(source, Family):
            self._refuse_head(task)
        return task

    def _refuse_head(self, task: Task) -> None:
        head: Any = task.known_head()
        for name in ("class_weight", "names"):
            if getattr(head, name, None) is not None:
                raise ValueError(
                    f"`{name}` of the head of task {task.name!r} must be left out, since the numbers of classes are drawn anew in each episode, got "
                    f"{getattr(head, name)!r}."
                )
        classes = {"multiclass": head.outputs, "binary": 2}.get(head.kind)
        if classes != self.ways:
            raise ValueError(
                f"`head` of task {task.name!r} must tell as many classes apart as an episode has `ways`, {self.ways}, got "
                f"{type(head).__name__} with {head.outputs} outputs. Leave it out, or give Multiclass({self.ways})."
            )

    def _has(self, name: str, split: str) -> bool:
        source = self.sources[name]
        return isinstance(source, Family) or split in source.splits

    def _inputs(self, name: str, task: Task, module: Any) -> Inputs:
        source = self.sources[name]
        if isinstance(source, Family):
            return Inputs([Plain(["x"])])
        known: Mapping[str, Inputs] = getattr(module, "inputs", {})
        tokenizer = self.tokenizer or getattr(getattr(module, "encoder", None), "tokenizer", None)
        if isinstance(tokenizer, Vocabulary) and tokenizer.known is None:
            tokenizer.fit(source.texts())
        if name in known and source.is_read_by(known[name], name):
            return known[name]
        return source.inputs(tokenizer, task.columns, name)

    def _drawing(self, name: str, split: str, task: Task, inputs: Inputs, classes: Classes) -> Drawing:
        source = self.sources[name]
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed
        if isinstance(source, Family):
            shots = (self.shots, self.shots) if isinstance(self.shots, int) else (self.shots[0], self.shots[1])
            return FamilyEpisodes(source, shots, self.queries or shots[1], task, seed)
        try:
            sampler = EpisodeSampler(
                classes[split],
                ways=self.ways,
                shots=self.shots,
                queries=self.queries or 15,
                balanced=self.balanced,
                seed=seed,
            )
        except ValueError as error:
            raise ValueError(f"Source {name!r}, split {split!r}: {error}") from error
        return ClassEpisodes(source.examples(split, inputs, task.columns, name), sampler, task)

    def _classes(self, name: str, task: Task) -> Classes:
        """Number the rows of each class in each split.

        Raises:
            ValueError: A class is in two splits.
        """
        source, found = self.sources[name], Classes()
        if isinstance(source, Family):
            return found
        for split in source.splits:
            if split != "predict":
                found[split] = classes_of(source.read(split, task.columns)[task.columns[0]])
        splits = list(found)
        for i, split in enumerate(splits):
            for other in splits[i + 1 :]:
                if both := sorted(found[split].keys() & found[other].keys()):
                    raise ValueError(
                        f"Source {name!r} must have no class of column {task.columns[0]!r} in two splits, else a test is not of new tasks; "
                        f"{split!r} and {other!r} both have {both[:5]}{' and others' if len(both) > 5 else ''}. Split by class: split(rows, by="
                        f"{task.columns[0]!r})."
                    )
        return found

    # Loaders

    def _there(self, split: str) -> dict[str, Drawing]:
        if split not in self._drawings:
            raise RuntimeError(f"The split {split!r} is not read yet. Call `setup` first, or let the Trainer do it.")
        return self._drawings[split]

    def _judging(self, split: str) -> EpisodeLoader:
        rank, ranks = self._ranks()
        total = self.totals[split]
        require(total >= ranks, f"{split}_episodes", f"at least {ranks}, one for each process", total, "Raise it.")
        own = range(rank, total, ranks)
        parts = [own[start : start + self.episodes] for start in range(0, len(own), self.episodes)]

        def plans(first: int) -> Iterator[EpisodePlan]:
            return iter([(0, total, part) for part in parts])

        return EpisodeLoader(self._there(split), split, plans, len(parts), num_workers=self.num_workers)

    def _ranks(self) -> tuple[int, int]:
        kwargs = self.trainer.distributed_sampler_kwargs if self.trainer else None
        return (kwargs["rank"], kwargs["num_replicas"]) if kwargs else (0, 1)

    def _table(self) -> str:
        rows = []
        for split, drawings in self._drawings.items():
            for name, drawing in drawings.items():
                episodes = f"{self.totals[split]:,}" if split in self.totals else f"{self.episodes} a step"
                if isinstance(drawing, ClassEpisodes):
                    sampler = drawing.sampler
                    sizes = [len(of) for of in sampler.rows]
                    each = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
                    rows.append(
                        [name, split, f"{len(sizes):,}", each, f"{sampler.ways} ways, {self.shots} shots", episodes]
                    )
                else:
                    rows.append([name, split, "-", "-", f"{self.shots} points", episodes])
        return table(("source", "split", "classes", "rows of each", "episode", "episodes"), rows)


def classes_of(labels: Sequence[Any]) -> dict[str, list[int]]:
    """Number the rows of each class; rows without a label (None, NaN, -100) are of none.

    Args:
        labels: The labels of all rows.

    Example:
        >>> classes_of(["b", "a", None, "b"])
        {'a': [1], 'b': [0, 3]}
    """
    found: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        if not (label is None or label != label or label == -100):
            found.setdefault(str(label), []).append(row)
    return dict(sorted(found.items()))
