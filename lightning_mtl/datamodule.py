"""Named datasets in, a loader of `{source: batch}` out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import lightning as L
from torch import Tensor

from ._examples import Examples
from ._inference import complete, head_for, refuse_other_coding
from ._inspection import (
    Labels,
    known_labels,
    labels_of,
    refuse_bad_inputs,
    refuse_uneven,
    table,
    warn_of_copies,
)
from ._loader import MultiTaskLoader
from .encoders import Tokenizer, Vocabulary
from .inputs import Inputs
from .sampler import AllSourcesSampler
from .source import SPLITS, Source
from .task import Task

_STAGES = {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",), "predict": ("predict",)}


@runtime_checkable
class _Module(Protocol):
    """What the data module asks of the model, where the model is one of ours."""

    tasks: tuple[Task, ...]
    encoder: Any
    routing: Any
    inputs: Any


class MultiTaskDataModule(L.LightningDataModule):
    """Feed several sources to a multi-task module.

    A step holds one batch of every source, `{source: {column: tensor}}`. An epoch is one pass of the longest source;
    shorter ones start over in a new order. On several processes each reads its own part of every global batch: nothing
    is read twice, nothing is left out. Before training the data are checked against the tasks, and a table is printed.

    Args:
        sources: {name: source}; a source is a `Source`, a dataset, a `DataLoader` over one, or {split: dataset}.
        batch_size: Rows of each source in a step, on each process.
        num_workers: Processes that read ahead, for all sources together.
        pin_memory: Whether batches are laid where a GPU fetches them faster. Default: where the Trainer has a GPU.
        steps_per_epoch: Steps in an epoch. Default: one pass of the longest source.
        seed: Makes another order of the examples. Default: that of `seed_everything`, or 0.
        tokenizer: Turns texts into tensors. Default: the encoder's.
        bucket: Whether texts of similar length come together in a batch, which spares padding; the batches of a pass come
            in random order all the same.
        summary: Whether to print the table of tasks before training.

    Raises:
        ValueError: There is no source, or a number is below its minimum.

    Example:
        >>> rows = [{"x": [0.0, float(i)], "large": int(i > 4)} for i in range(10)]
        >>> data = MultiTaskDataModule({"numbers": {"train": rows}}, batch_size=4)
        >>> data.setup("fit")
        >>> [batch["numbers"]["x"].shape for batch in data.train_dataloader()]
        [torch.Size([4, 2]), torch.Size([3, 2]), torch.Size([3, 2])]
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        *,
        batch_size: int = 32,
        num_workers: int = 0,
        pin_memory: bool | None = None,
        steps_per_epoch: int | None = None,
        seed: int | None = None,
        tokenizer: Tokenizer | None = None,
        bucket: bool = True,
        summary: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(sources, Mapping):
            raise TypeError(f"`sources` must be {{name: source}}, got {type(sources).__name__}. Name the datasets.")
        if not sources:
            raise ValueError("`sources` must name at least one dataset, got none.")
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        if steps_per_epoch is not None and steps_per_epoch < 1:
            raise ValueError(f"`steps_per_epoch` must be at least 1, got {steps_per_epoch}.")
        self.sources = {name: data if isinstance(data, Source) else Source(data) for name, data in sources.items()}
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.tokenizer = tokenizer
        self.bucket = bucket
        self.summary = summary
        self.not_inputs: set[str] = set()
        """Columns that no encoder may read beside the targets of its own tasks, e.g. the targets of other runs."""
        self._examples: dict[str, dict[str, Examples]] = {}
        self._tasks: dict[str, list[Task]] = {}

    def setup(self, stage: str) -> None:
        """Read the splits of this stage, check them against the tasks, and print the table before training.

        Raises:
            ValueError: What is wrong with which source, row and column, and what to do.
        """
        module: _Module | None = getattr(self.trainer, "lightning_module", None)
        tasks: tuple[Task, ...] = getattr(module, "tasks", ())
        reads = {task.name: task.resolve(self.sources) for task in tasks if not self._idle(task)}
        self._tasks = {
            name: [task for task in tasks if reads.get(task.name) == name]
            for name in self.sources
            if name in reads.values() or not tasks
        }
        inputs = self._inputs(module)
        if stage == "predict":
            self._refuse_headless(tasks)
        else:
            self._settle_tasks()
        for split in _STAGES[stage]:
            self._examples[split] = self._read(split, stage, inputs)
        if stage == "fit":
            self.__dict__.pop("val_dataloader", None)
            if not self._examples["validation"]:  # Lightning skips validation only where no such method is defined
                self.val_dataloader = super().val_dataloader  # type: ignore[method-assign]
        labels = {split: self._check(split) for split in _STAGES[stage] if split != "predict"}
        if stage != "predict":
            self._fit_heads(inputs)
        if module is not None and tasks:
            module.inputs = {**self._unfed(module), **inputs}
            found = labels.get("train", {})
            complete = stage == "fit" and all(of.seen == of.rows == of.labelled for of in found.values())
            # All labels of a row of words may lie beyond what the encoder reads.
            complete = complete and not any(task.known_head().per_position for task in tasks)
            module.routing.bind(list(self.sources), reads, every_task_every_step=complete)
        if stage == "fit" and tasks:
            self._print(labels, inputs)

    def train_dataloader(self) -> MultiTaskLoader:
        """Loader of the split "train": each step a batch of every source."""
        return self._loader("train", shuffle=not self._overfits(), cycle=True, frozen=self._overfits())

    def val_dataloader(self) -> Any:
        """Loader of the split "validation": every row once."""
        return self._loader("validation", shuffle=False, cycle=False)

    def test_dataloader(self) -> Any:
        """Loader of the split "test": every row once."""
        return self._loader("test", shuffle=False, cycle=False)

    def predict_dataloader(self) -> Any:
        """Loader of the split "predict", or else "test": every row once, in order."""
        return self._loader("predict", shuffle=False, cycle=False)

    def _idle(self, task: Task) -> bool:
        """Say whether a task has no data here and needs none: its head is frozen."""
        absent = task.source is not None and task.source not in self.sources
        return absent and task.head is not None and not any(p.requires_grad for p in task.head.parameters())

    def _unfed(self, module: _Module) -> dict[str, Inputs]:
        """Find how the rows of frozen tasks without data here become tensors, so that these still predict afterwards."""
        sources = {task.source for task in module.tasks if self._idle(task)}
        return {name: inputs for name, inputs in module.inputs.items() if name in sources}

    def _inputs(self, module: _Module | None) -> dict[str, Inputs]:
        """Learn from the training splits how rows become tensors, where the model does not know it already."""
        known: Mapping[str, Inputs] = getattr(module, "inputs", {})
        tokenizer = self.tokenizer or getattr(getattr(module, "encoder", None), "tokenizer", None)
        if isinstance(tokenizer, Vocabulary) and tokenizer.known is None:
            tokenizer.fit(self._texts())
        made = {}
        for name, tasks in self._tasks.items():
            source = self.sources[name]
            if name in known and source.is_read_by(known[name], name):
                made[name] = known[name]
            else:
                targets = [column for task in tasks for column in task.columns] if module is not None else None
                hidden = {
                    *self.not_inputs,
                    *(column for of in self._tasks.values() for task in of for column in task.columns),
                }
                made[name] = source.inputs(tokenizer, targets, name, hidden)
        return made

    def _texts(self) -> Iterator[str]:
        for source in (self.sources[name] for name in self._tasks if "train" in self.sources[name].splits):
            for values in source.read("train", [*source.text, *([source.words] if source.words else ())]).values():
                yield from (value if isinstance(value, str) else " ".join(value) for value in values if value)

    def _settle_tasks(self) -> None:
        """Find the heads that were not given, and the names of labels, from the training splits."""
        for name, tasks in self._tasks.items():
            source = self.sources[name]
            for task in tasks:
                if "train" not in source.splits:
                    self._refuse_headless([task])
                    continue
                columns, features = source.labels("train", task.columns, name)
                if columns is None:
                    continue
                if task.head is None:
                    found = head_for(task, columns, features, words=source.words is not None)
                    task.head, task.dropout = found, 0.0  # the head has it now
                complete(task, columns, features)
                texts = any(isinstance(value, str) for value in columns[task.columns[0]])
                for split in source.splits:
                    self._refuse_other_coding(task, name, split, texts)

    def _refuse_other_coding(self, task: Task, name: str, split: str, texts: bool) -> None:
        source = self.sources[name]
        if split == "predict" or not len(source.splits[split]) or not set(task.columns) <= set(source.columns(split)):
            return
        columns, features = source.labels(split, task.columns, name)
        if columns is not None:
            (first, *_) = task.columns
            refuse_other_coding(
                task, columns[first], features.get(first), f"source {name!r}, split {split!r}", texts=texts
            )

    def _refuse_headless(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            task.known_head()

    def _fit_heads(self, inputs: Mapping[str, Inputs]) -> None:
        """Let heads learn from the training labels: weights of classes, the scale of numbers; once for each model."""
        for name, tasks in self._tasks.items():
            source = self.sources[name]
            for task in tasks:
                head = task.known_head()
                if not head.fitted and "train" in source.splits:
                    train = self._examples.get("train", {}).get(name) or source.examples(
                        "train", inputs[name], task.columns
                    )
                    head.fit(known_labels(task, train, f"source {name!r}, row"))
                    head.fitted = True  # what a trained model knows of its labels stays

    def _read(self, split: str, stage: str, inputs: Mapping[str, Inputs]) -> dict[str, Examples]:
        examples = {}
        for name, tasks in self._tasks.items():
            source = self.sources[name]
            held = "test" if split == "predict" and split not in source.splits else split
            if held in source.splits:
                columns = [column for task in tasks for column in task.columns if split != "predict"]
                targets = list(dict.fromkeys(columns)) if any(self._tasks.values()) else None
                examples[name] = source.examples(held, inputs[name], targets, name, show=split == "predict")
            elif split == "train":
                raise ValueError(f"Source {name!r} must have a split 'train' to fit on, got {list(source.splits)}.")
        if not examples and (split, stage) != ("validation", "fit"):
            raise ValueError(
                f"No source has the split {split!r}; splits are out of {list(SPLITS)}. Add it to a source."
            )
        return examples

    def _check(self, split: str) -> dict[str, Labels]:
        labels = {}
        for name, examples in self._examples[split].items():
            where = f"source {name!r}, split {split!r}, row"
            refuse_bad_inputs(examples, where, self._vocabulary())
            for task in self._tasks[name]:
                self._refuse_uneven(task, name, split, where)
                labels[task.name] = found = labels_of(task, examples, where)
                if split == "train" and found.labelled == 0:
                    raise ValueError(
                        f"Task {task.name!r} must have labels to learn from: all {found.seen} rows of column {task.column!r} "
                        f"in source {name!r} are without. Drop the task, or name another `target`."
                    )
            if split == "validation" and self._tasks[name] and name in self._examples.get("train", {}):
                warn_of_copies(self._examples["train"][name], examples, name, split)
        return labels

    def _vocabulary(self) -> int | None:
        module = getattr(self.trainer, "lightning_module", None)
        return getattr(getattr(module, "encoder", None), "vocabulary", None)

    def _refuse_uneven(self, task: Task, name: str, split: str, where: str) -> None:
        source = self.sources[name]
        if task.known_head().per_position and source.words is not None:
            columns = source.read(split, [source.words, task.columns[0]])
            refuse_uneven(columns[source.words], columns[task.columns[0]], task, where)

    def _loader(self, split: str, *, shuffle: bool, cycle: bool, frozen: bool = False) -> MultiTaskLoader:
        if split not in self._examples:
            raise RuntimeError(f"The split {split!r} is not read yet. Call `setup` first, or let the Trainer do it.")
        examples = self._examples[split]
        ranks = self._ranks()
        sizes = {name: len(rows) for name, rows in examples.items()}
        for name, size in sizes.items():
            if size < ranks["num_replicas"]:
                raise ValueError(
                    f"Source {name!r} must have a row for each process in split {split!r}, got {size} for "
                    f"{ranks['num_replicas']}. Add rows, or use fewer processes."
                )
        ready = {
            name: batches
            for name in examples
            if (batches := self.sources[name].ready_batches(split, name, ranks["num_replicas"])) is not None
        }
        sampler = AllSourcesSampler(
            sizes,
            {name: self.sources[name].rows_per_step(split, self.batch_size) for name in examples},
            shuffle={name: shuffle and self.sources[name].shuffled(split) for name in examples},
            cycle=cycle,
            frozen=frozen,
            steps=self.steps_per_epoch if cycle else None,
            ready=ready,
            lengths=self._lengths(examples) if self.bucket and not frozen else None,
            sort=split in ("validation", "test") and self._whole(split),
            seed=int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed,
            **ranks,
        )
        return MultiTaskLoader(
            examples,
            {name: tasks if split != "predict" else [] for name, tasks in self._tasks.items()},
            sampler,
            num_workers=self.num_workers,
            pin_memory=self._on_gpu() if self.pin_memory is None else self.pin_memory,
        )

    def _whole(self, split: str) -> bool:
        """Say whether an evaluation reads all of a split; of a part of it, the longest texts would come first."""
        limit = {"validation": "limit_val_batches", "test": "limit_test_batches"}[split]
        sanity = split == "validation" and bool(getattr(self.trainer, "sanity_checking", False))
        return getattr(self.trainer, limit, 1.0) == 1.0 and not sanity

    def _lengths(self, examples: Mapping[str, Examples]) -> dict[str, Tensor]:
        lengths = {name: rows.lengths() for name, rows in examples.items()}
        return {name: of for name, of in lengths.items() if of is not None}

    def _ranks(self) -> dict[str, int]:
        kwargs = self.trainer.distributed_sampler_kwargs if self.trainer else None
        return (
            {"num_replicas": kwargs["num_replicas"], "rank": kwargs["rank"]}
            if kwargs
            else {"num_replicas": 1, "rank": 0}
        )

    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _overfits(self) -> bool:
        return self.trainer is not None and getattr(self.trainer, "overfit_batches", 0) > 0

    def _print(self, labels: Mapping[str, Mapping[str, Labels]], inputs: Mapping[str, Inputs]) -> None:
        sampler = self.train_dataloader().sampler
        rows = []
        for name, tasks in self._tasks.items():
            for task in tasks:
                of = labels["train"][task.name]
                held_out = labels.get("validation", {}).get(task.name)
                rows.append(
                    [
                        task.name,
                        name,
                        type(task.head).__name__,
                        f"{of.rows:,}",
                        "-" if held_out is None else f"{held_out.rows:,}",
                        "-" if of.classes is None else str(of.classes),
                        "-" if of.majority is None else f"{of.majority:.1%}",
                        f"{of.labelled / of.seen:.1%}" + ("" if of.seen == of.rows else f" of {of.seen:,}"),
                        f"{round(sampler.passes(name) * of.rows * of.labelled / of.seen):,}",
                    ]
                )
        header = ("task", "source", "head", "train", "validation", "classes", "majority", "labelled", "draws/epoch")
        if self.summary and self.trainer is not None and self.trainer.is_global_zero:
            print(table(header, rows))
            for name, made in inputs.items():
                for note in [*made.notes(), *self._examples["train"][name].notes()]:
                    print(f"Source {name!r}: {note}.")
            module: Any = self.trainer.lightning_module
            if idle := [task.name for task in module.tasks if self._idle(task)]:
                print(f"No data for the frozen tasks {idle}: they stay as they are.")
            if unread := [name for name in self.sources if name not in self._tasks]:
                print(f"No task reads the sources {unread}: they are left out.")
