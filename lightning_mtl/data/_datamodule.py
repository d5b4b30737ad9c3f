"""Named datasets in, a loader of `{source: batch}` out."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import lightning as L

from .._distributed import SHARDED
from ..callbacks import SamplingMonitor, SamplingSchedule
from ..encoders import Tokenizer, Vocabulary
from ..inputs import Inputs
from ..samplers import (
    BATCHES,
    BY_SOURCE,
    Batches,
    EvaluationSampler,
    MultiTaskSampler,
    Ready,
    Rows,
    Rule,
    Steps,
    Stream,
    Uniform,
    refuse_rule,
    refuse_steps,
)
from ..task import Task
from ._examples import Examples
from ._inspection import Labels, labels_of, refuse_bad_inputs, refuse_uneven, task_table, warn_of_copies
from ._label_statistics import fit_heads, settle
from ._loader import MultiTaskLoader
from ._source import SPLITS, Source

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

    A step holds one batch of every source, `{source: {column: tensor}}`, and an epoch is one pass of the longest; shorter ones
    start over in a new order. `sampling` and `batches` choose otherwise: which sources a step holds, and how often. On several processes each reads its own part of every global batch: nothing
    is read twice, nothing is left out. Before training the data are checked against the tasks, and a table is printed.

    Args:
        sources: {name: source}; a source is a `Source`, a dataset, a `DataLoader` over one, or {split: dataset}.
        batch_size: Rows in a step on each process: of each source whose batch the step holds, or of all sources together with
            "stratified" and "mixed" batches.
        num_workers: Processes that read ahead, for all sources together.
        pin_memory: Whether batches are laid where a GPU fetches them faster. Default: where the Trainer has a GPU.
        sampling: How often each source is drawn: a rule of `lightning_mtl.samplers`. Default: all alike.
        batches: What a step holds: "all", a batch of every source; "homogeneous", a batch of one source, drawn anew in each
            step; "stratified", rows of every source in fixed numbers, as the rates say; "mixed", rows whose source is
            drawn for each. Default: "homogeneous" where `sampling` is given, else "all".
        steps_per_epoch: Steps in an epoch: a number; "longest" or "shortest", a pass of the source that takes most or fewest
            steps; "proportional", as many as all sources have batches; or {source: passes}. Default: "longest" where a step
            holds a batch of every source, else "proportional".
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
        sampling: Rule | None = None,
        batches: Batches | None = None,
        steps_per_epoch: Steps = None,
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
        refuse_steps(steps_per_epoch)
        if batches is not None and batches not in BATCHES:
            raise ValueError(f"`batches` must be one of {list(BATCHES)}, got {batches!r}.")
        self.sources = {name: data if isinstance(data, Source) else Source(data) for name, data in sources.items()}
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.sampling = sampling
        if sampling is not None:
            refuse_rule(sampling, sources, batches or "homogeneous")
        self.batches: Batches = batches or ("all" if sampling is None else "homogeneous")
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.tokenizer = tokenizer
        self.bucket = bucket
        self.summary = summary
        self.not_inputs: set[str] = set()
        """Columns that no encoder may read beside the targets of its own tasks, e.g. the targets of other runs."""
        self.sampler: MultiTaskSampler | None = None
        """What plans the steps of training, once there is a loader."""
        self.labelled: dict[str, int] = {}
        """How many training rows have a label for each task, once they are read; estimated where only the first were looked at."""
        self._examples: dict[str, dict[str, Examples]] = {}
        self._tasks: dict[str, list[Task]] = {}

    def setup(self, stage: str) -> None:
        """Read the splits of this stage, check them against the tasks, and print the table before training.

        Raises:
            ValueError: What is wrong with which source, row and column, and what to do.
        """
        if self.trainer is not None:
            self.trainer.callbacks[:0] = self._missing_callbacks()  # type: ignore[attr-defined]
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
            for task in tasks:
                task.known_head()
        else:
            settle(self.sources, self._tasks)
        for split in _STAGES[stage]:
            self._examples[split] = self._read(split, stage, inputs)
        if stage == "fit":
            self.__dict__.pop("val_dataloader", None)
            if not self._examples["validation"]:  # Lightning skips validation only where no such method is defined
                self.val_dataloader = super().val_dataloader  # type: ignore[method-assign]
        labels = {split: self._check(split) for split in _STAGES[stage] if split != "predict"}
        self._count(labels.get("train", {}))
        if stage != "predict":
            fit_heads(self.sources, self._tasks, self._examples.get("train", {}), inputs)
        if module is not None and tasks:
            module.inputs = {**self._unfed(module), **inputs}
            found = labels.get("train", {})
            complete = stage == "fit" and all(of.seen == of.rows == of.labelled for of in found.values())
            # All labels of a row of words may lie beyond what the encoder reads.
            complete = complete and not any(task.known_head().per_position for task in tasks)
            complete = complete and self.batches == "all" and isinstance(self._rule(), Uniform)
            complete = complete and all(self.sources[name].stream is None for name in self._tasks)
            module.routing.bind(list(self.sources), reads, every_task_every_step=complete)
        if stage == "fit" and tasks:
            self._print(labels, inputs)

    def _missing_callbacks(self) -> list[L.Callback]:
        """Make the callbacks that sampling needs, where the Trainer has none of their kind."""
        there = getattr(self.trainer, "callbacks", ())
        kinds: list[type[L.Callback]] = [SamplingSchedule]
        if len(self.sources) > 1:  # a callback costs in every step
            kinds.append(SamplingMonitor)
        return [kind() for kind in kinds if not any(isinstance(callback, kind) for callback in there)]

    def _rule(self) -> Rule:
        """Give a fresh copy of the rule: of a `SamplingSchedule` that has one, or else of `sampling`."""
        schedules = (of for of in getattr(self.trainer, "callbacks", ()) if isinstance(of, SamplingSchedule))
        rule = next((of.rule for of in schedules if of.rule is not None), None)
        if rule is not None:
            refuse_rule(rule, self.sources, self.batches)
        return copy.deepcopy(rule or self.sampling or Uniform())

    def reads(self) -> dict[str, str]:
        """Name the source that each task reads."""
        return {task.name: name for name, tasks in self._tasks.items() for task in tasks}

    def first_row(self, source: str) -> dict[str, Any]:
        """Give the first training row of a source as a batch."""
        return self._examples["train"][source][[0]]

    def train_dataloader(self) -> MultiTaskLoader:
        """Loader of the split "train": the steps of an epoch, as `sampling` and `batches` say."""
        frozen = self._overfits()
        streams = self._streams("train", shuffle=not frozen, bucket=not frozen and self.batches in BY_SOURCE)
        epochs = getattr(self.trainer, "max_epochs", None)
        self.sampler = MultiTaskSampler(
            streams,
            self._rule() if len(streams) > 1 else Uniform(),
            batches=self.batches,
            batch=self.batch_size * self._ranks()["num_replicas"],
            steps=self.steps_per_epoch,
            epochs=epochs if epochs and epochs > 0 else None,
            limit=getattr(self.trainer, "limit_train_batches", None) or 1.0,
            frozen=frozen,
            fill=isinstance(getattr(self.trainer, "strategy", None), SHARDED),
            seed=int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed,
            **self._ranks(),
        )
        return self._loader("train", self.sampler)

    def val_dataloader(self) -> Any:
        """Loader of the split "validation": every row once."""
        return self._evaluating("validation")

    def test_dataloader(self) -> Any:
        """Loader of the split "test": every row once."""
        return self._evaluating("test")

    def predict_dataloader(self) -> Any:
        """Loader of the split "predict", or else "test": every row once, in order."""
        return self._evaluating("predict")

    def probe(self, split: str, rows: int | None = None) -> MultiTaskLoader | None:
        """Loader of a fixed part of a split that was read, drawn at random once: what a monitor looks at again and again.

        There is none where no source has the split.

        Args:
            split: The split.
            rows: How many rows of each source, up to the end of a batch. Default: all.
        """
        if not self._examples.get(split):
            return None
        streams = self._streams(split, shuffle=True, bucket=False)
        return self._loader(split, EvaluationSampler(streams, rows=rows, **self._ranks()), workers=0)

    def _idle(self, task: Task) -> bool:
        """Say whether a task has no data here and needs none: its head is frozen."""
        absent = task.source is not None and task.source not in self.sources
        return absent and task.head is not None and not any(p.requires_grad for p in task.head.parameters())

    def _unfed(self, module: _Module) -> dict[str, Inputs]:
        """Find how the rows of frozen tasks without data here become tensors, so that these still predict afterwards."""
        sources = {task.source for task in module.tasks if self._idle(task)}
        return {name: inputs for name, inputs in module.inputs.items() if name in sources}

    def _inputs(self, module: Any) -> dict[str, Inputs]:
        """Learn from the training splits how rows become tensors, where the model does not know it already."""
        known: Mapping[str, Inputs] = getattr(module, "inputs", {})
        tokenizer = self.tokenizer or getattr(getattr(module, "encoder", None), "tokenizer", None)
        if isinstance(tokenizer, Vocabulary) and tokenizer.known is None:
            there = (self.sources[name] for name in self._tasks if "train" in self.sources[name].splits)
            tokenizer.fit(text for source in there for text in source.texts())
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

    def _count(self, labels: Mapping[str, Labels]) -> None:
        reads = self.reads()
        self.labelled |= {
            task: of.labelled * of.rows // max(of.seen, 1)
            for task, of in labels.items()
            if self.sources[reads[task]].stream is None
        }

    def _vocabulary(self) -> int | None:
        module = getattr(self.trainer, "lightning_module", None)
        return getattr(getattr(module, "encoder", None), "vocabulary", None)

    def _refuse_uneven(self, task: Task, name: str, split: str, where: str) -> None:
        source = self.sources[name]
        if task.known_head().per_position and source.words is not None:
            columns = source.read(split, [source.words, task.columns[0]])
            refuse_uneven(columns[source.words], columns[task.columns[0]], task, where)

    def _evaluating(self, split: str) -> MultiTaskLoader:
        streams = self._streams(split, shuffle=False, bucket=split != "predict" and self._whole(split))
        return self._loader(split, EvaluationSampler(streams, **self._ranks()))

    def _loader(
        self, split: str, sampler: MultiTaskSampler | EvaluationSampler, workers: int | None = None
    ) -> MultiTaskLoader:
        examples = dict(self._examples[split])
        if split == "train":
            examples |= {
                name: self.sources[name].given(of.inputs, of.targets)
                for name, of in examples.items()
                if self.sources[name].stream is not None
            }
        return MultiTaskLoader(
            examples,
            {name: tasks if split != "predict" else [] for name, tasks in self._tasks.items()},
            sampler,
            num_workers=self.num_workers if workers is None else workers,
            pin_memory=self._on_gpu() if self.pin_memory is None else self.pin_memory,
        )

    def _streams(self, split: str, *, shuffle: bool, bucket: bool) -> dict[str, Stream]:
        if split not in self._examples:
            raise RuntimeError(f"The split {split!r} is not read yet. Call `setup` first, or let the Trainer do it.")
        return {
            name: self._stream(split, name, examples, shuffle=shuffle, bucket=bucket and self.bucket)
            for name, examples in self._examples[split].items()
        }

    def _stream(self, split: str, name: str, examples: Examples, *, shuffle: bool, bucket: bool) -> Stream:
        source, ranks = self.sources[name], self._ranks()["num_replicas"]
        rows_per_step = source.rows_per_step(split, self.batch_size) * ranks
        flows = split == "train" and source.stream is not None
        batches = None if flows else source.ready_batches(split, name, ranks)
        own = batches is not None or source.batch_size is not None
        if own and split == "train" and self.batches not in BY_SOURCE:
            raise ValueError(
                f"Source {name!r} must have no batches of its own where batches={self.batches!r} draws rows of all sources "
                "into one. Give its dataset without `batch_size`, or use batches='homogeneous'."
            )
        if flows:
            return source.flow(rows_per_step, name, self._ranks()["rank"], ranks)
        if len(examples) < ranks:
            raise ValueError(
                f"Source {name!r} must have a row for each process in split {split!r}, got {len(examples)} for {ranks}. Add rows, "
                "or use fewer processes."
            )
        if batches is not None:
            return Ready(batches, len(examples))
        return Rows(
            len(examples),
            rows_per_step,
            name=name,
            shuffle=shuffle and source.shuffled(split),
            lengths=examples.lengths() if bucket else None,
            sort=not shuffle,
            ranks=ranks,
        )

    def _whole(self, split: str) -> bool:
        """Say whether an evaluation reads all of a split; of a part of it, the longest texts would come first."""
        limit = {"validation": "limit_val_batches", "test": "limit_test_batches"}[split]
        sanity = split == "validation" and bool(getattr(self.trainer, "sanity_checking", False))
        return getattr(self.trainer, limit, 1.0) == 1.0 and not sanity

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
        self.train_dataloader()  # so that what its sampler refuses is refused now
        assert self.sampler is not None
        if self.summary and self.trainer is not None and self.trainer.is_global_zero:
            print(
                task_table(
                    self._tasks,
                    labels,
                    self.sampler,
                    [name for name in self._tasks if self.sources[name].stream is not None],
                )
            )
            for name, made in inputs.items():
                for note in [*made.notes(), *self._examples["train"][name].notes(), *self.sampler.streams[name].notes]:
                    print(f"Source {name!r}: {note}.")
            module: Any = self.trainer.lightning_module
            if idle := [task.name for task in module.tasks if self._idle(task)]:
                print(f"No data for the frozen tasks {idle}: they stay as they are.")
            if unread := [name for name in self.sources if name not in self._tasks]:
                print(f"No task reads the sources {unread}: they are left out.")
