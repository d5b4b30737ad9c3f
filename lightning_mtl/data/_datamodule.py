"""The data module of several sources: from named datasets to loaders of `{source: batch}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L

from .._checks import require_number
from .._lightning import hide_val_dataloader, insert_callbacks
from ..encoders import Tokenizer
from ..inputs import Inputs
from ..samplers import (
    BATCHES,
    BY_SOURCE,
    Batches,
    EvaluationSampler,
    MultiTaskSampler,
    Rule,
    Steps,
    Stream,
    Uniform,
    refuse_rule,
    refuse_steps,
)
from ..task import MultiTask, Task
from ._arguments import refuse_bad_sources
from ._inspection import inspecting
from ._label_counts import LabelCounts
from ._loader import MultiTaskLoader
from ._lone_rows import refuse_lone_rows
from ._readers import is_idle, readers_of
from ._sampling import missing_callbacks, rule_in_use
from ._source import Source
from ._split_check import check_split
from ._splits import Splits
from ._summary import summary_lines
from ._trainer import (
    build_layers,
    counter_of,
    last_epoch,
    on_gpu,
    overfits,
    ranks_of,
    reads_whole,
    seed_or_global,
    shards_parameters,
)

_STAGES = {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",), "predict": ("predict",)}


class MultiTaskDataModule(L.LightningDataModule):
    """Feed several sources to a multi-task module.

    By default a step holds one batch of every source, `{source: {column: tensor}}`, and an epoch is one pass of the longest
    source; shorter ones start again in a new order. `sampling` and `batches` change which sources a step holds, and how often.
    With several processes every global batch is sharded: no row is read twice, and none is left out. Before training the data
    are checked against the tasks, and a table is printed.

    Args:
        sources: {name: source}; a source is a `Source`, a dataset, a `DataLoader` over one, or {split: dataset}.
        batch_size: Rows in a step on each process: of each source whose batch the step holds, or of all sources together with
            "stratified" and "mixed" batches.
        num_workers: Processes that read ahead, for all sources together.
        pin_memory: Whether batches are put into pinned memory, which a GPU reads faster. Default: where the Trainer has a GPU.
        sampling: How often each source is drawn: a rule of `lightning_mtl.samplers`. Default: all equally often.
        batches: What a step holds: "all", a batch of every source; "homogeneous", a batch of one source, drawn in each
            step; "stratified", rows of every source, in fixed numbers that follow the rates; "mixed", rows whose sources are
            drawn one by one. Default: "homogeneous" where `sampling` is given, else "all".
        steps_per_epoch: Steps in an epoch: a number; "longest" or "shortest", a pass of the source that takes most or fewest
            steps; "proportional", as many as all sources have batches; or {source: passes}. Default: "longest" where a step
            holds a batch of every source, else "proportional".
        seed: Other seeds give other orders of the examples. Default: that of `seed_everything`, or 0.
        tokenizer: Turns texts into tensors. Default: the encoder's.
        bucket: Whether texts of similar length come together in a batch, which saves padding; the batches of a pass still come
            in random order.
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
        refuse_bad_sources(sources)
        require_number("batch_size", batch_size, "32 is the default.", at_least=1, whole=True)
        require_number("num_workers", num_workers, "0 reads in the main process.", at_least=0, whole=True)
        require_number("seed", seed, "Leave it out for that of `seed_everything`.", whole=True, optional=True)
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
        """Columns that are no inputs, beside the targets of the tasks, e.g. the targets of other runs."""
        self.sampler: MultiTaskSampler | None = None
        """The sampler of training, once there is a loader."""
        self.labelled: dict[str, int] = {}
        """How many training rows have a label for each task, once they are read; estimated where only the first rows were read."""
        self._splits = Splits(self.sources, {})

    def setup(self, stage: str) -> None:
        """Read the splits of this stage, check them against the tasks, and print the table before training.

        Raises:
            ValueError: The data do not fit the tasks; the message names source, row and column, and a remedy.
        """
        if self.trainer is not None:
            insert_callbacks(self.trainer, missing_callbacks(self._callbacks(), self.sources))
        module: MultiTask | None = getattr(self.trainer, "lightning_module", None)
        tasks: tuple[Task, ...] = getattr(module, "tasks", ())
        readers = readers_of(tasks, self.sources)
        inspected = _STAGES[stage] if stage != "predict" else ()
        with inspecting(self.sources, readers, module, inspected, self.tokenizer, self.not_inputs) as inputs:
            self._splits = Splits(self.sources, readers, self._splits.rows)
            counts = self._splits.inspect(_STAGES[stage], stage, inputs, module)
            train = counts.get("train", {})
            if stage == "fit":
                hide_val_dataloader(self, hide=not self._splits.rows["validation"])
            streamed = self._splits.streamed
            self.labelled |= {task: of.estimate for task, of in train.items() if self.reads()[task] not in streamed}
            if module is not None and tasks:
                # Tasks without data here can still predict afterwards.
                idle = {task.source for task in tasks if is_idle(task, self.sources)}
                module.inputs = {**{name: of for name, of in module.inputs.items() if name in idle}, **inputs}
                complete = stage == "fit" and self._is_complete(tasks, train)
                module.routing.bind(list(self.sources), self.reads(), every_task_every_step=complete)
                build_layers(self.trainer, module)
            if stage == "fit" and tasks:
                self._print_summary(tasks, counts, inputs)
                if module is not None and self.sampler is not None:
                    refuse_lone_rows(module, self.sampler, self._splits.rows["train"])

    def check_split(self, module: MultiTask, split: str) -> None:
        """Check a split as training would check it, e.g. "test" before anything is trained; needs no Trainer.

        Args:
            module: The module; it stays as it is.
            split: The split.

        Raises:
            ValueError: No source has the split, a label that the tasks do not know, an input that is not finite, a missing
                column, or fewer labels than the metrics of a task need; with source, row, column and remedy.
        """
        check_split(self, module, split)

    def _callbacks(self) -> list[L.Callback]:
        callbacks: list[L.Callback] = getattr(self.trainer, "callbacks", [])
        return callbacks

    def _is_complete(self, tasks: tuple[Task, ...], counts: Mapping[str, LabelCounts]) -> bool:
        """Return whether every step of training holds a label for every task."""
        return (
            all(of.seen == of.rows == of.labelled for of in counts.values())
            # All labels of a row of words may be beyond the limit of the encoder.
            and not any(task.known_head().per_position for task in tasks)
            and self.batches == "all"
            and isinstance(self._rule(), Uniform)
            and not self._splits.streamed
        )

    def _rule(self) -> Rule:
        return rule_in_use(self._callbacks(), self.sampling, self.sources, self.batches)

    def _print_summary(
        self, tasks: tuple[Task, ...], counts: Mapping[str, Mapping[str, LabelCounts]], inputs: Mapping[str, Inputs]
    ) -> None:
        self.train_dataloader()  # so that an error of its sampler comes before training
        assert self.sampler is not None
        if self.summary and self.trainer is not None and self.trainer.is_global_zero:
            for line in summary_lines(self._splits, tasks, counts, inputs, self.sampler):
                print(line)

    def reads(self) -> dict[str, str]:
        """Return the name of the source that each task reads."""
        return self._splits.reads

    def first_row(self, source: str) -> dict[str, Any]:
        """Return the first training row of a source as a batch."""
        return self._splits.rows["train"][source][[0]]

    def train_dataloader(self) -> MultiTaskLoader:
        """Return the loader of the split "train": the steps of an epoch, as `sampling` and `batches` say."""
        frozen, ranks = overfits(self.trainer), ranks_of(self.trainer)
        streams = self._streams("train", shuffle=not frozen, bucket=not frozen and self.batches in BY_SOURCE)
        self.sampler = MultiTaskSampler(
            streams,
            self._rule() if len(streams) > 1 else Uniform(),
            batches=self.batches,
            batch=self.batch_size * ranks.world,
            steps=self.steps_per_epoch,
            epochs=last_epoch(self.trainer),
            limit=getattr(self.trainer, "limit_train_batches", None) or 1.0,
            frozen=frozen,
            fill=shards_parameters(self.trainer),
            seed=seed_or_global(self.seed),
            num_replicas=ranks.world,
            rank=ranks.rank,
        )
        loader = self._loader("train", self.sampler, self.num_workers)
        loader.batches_done = counter_of(self.trainer)
        return loader

    def val_dataloader(self) -> Any:
        """Return the loader of the split "validation": every row once."""
        return self._evaluating("validation")

    def test_dataloader(self) -> Any:
        """Return the loader of the split "test": every row once."""
        return self._evaluating("test")

    def predict_dataloader(self) -> Any:
        """Return the loader of the split "predict", or else "test": every row once, in order.

        A `BasePredictionWriter` gets the numbers of the rows of each batch as `batch_indices`; of several sources {source: numbers}.
        """
        return self._evaluating("predict")

    def probe(self, split: str, rows: int | None = None) -> MultiTaskLoader | None:
        """Return a loader of a fixed random part of a split that was read, for monitors that evaluate it again and again.

        It is None where no source has the split.

        Args:
            split: The split.
            rows: How many rows of each source, up to the end of a batch. Default: all.
        """
        if not self._splits.rows.get(split):
            return None
        streams = self._streams(split, shuffle=True, bucket=False)
        return self._loader(split, self._every_row(streams, rows), workers=0)

    def _evaluating(self, split: str) -> MultiTaskLoader:
        # A part of a split sorted by length would be its longest texts.
        bucket = split != "predict" and reads_whole(self.trainer, split)
        streams = self._streams(split, shuffle=False, bucket=bucket)
        return self._loader(split, self._every_row(streams), self.num_workers)

    def _every_row(self, streams: Mapping[str, Stream], rows: int | None = None) -> EvaluationSampler:
        ranks = ranks_of(self.trainer)
        return EvaluationSampler(streams, rows=rows, num_replicas=ranks.world, rank=ranks.rank)

    def _streams(self, split: str, *, shuffle: bool, bucket: bool) -> dict[str, Stream]:
        return self._splits.streams(
            split,
            batch_size=self.batch_size,
            batches=self.batches,
            ranks=ranks_of(self.trainer),
            shuffle=shuffle,
            bucket=bucket and self.bucket,
        )

    def _loader(self, split: str, sampler: MultiTaskSampler | EvaluationSampler, workers: int) -> MultiTaskLoader:
        pin_memory = on_gpu(self.trainer) if self.pin_memory is None else self.pin_memory
        return self._splits.loader(split, sampler, num_workers=workers, pin_memory=pin_memory)
