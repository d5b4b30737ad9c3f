"""The splits of all sources: reads their rows, checks them against the tasks, and makes streams and loaders of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..inputs import Inputs
from ..samplers import Batches, EvaluationSampler, MultiTaskSampler, Stream
from ..task import Task
from ._copies import warn_of_copies
from ._examples import Examples
from ._heads import fit_heads, infer_heads
from ._label_counts import LabelCounts, count_labels
from ._loader import MultiTaskLoader
from ._row_checks import refuse_bad_inputs, refuse_uneven
from ._same_rows import refuse_other_rows
from ._source import SPLITS, Source
from ._streams import stream_of
from ._trainer import Ranks


@dataclass
class Splits:
    """The splits that were read so far.

    Args:
        sources: The sources.
        readers: The tasks that read each source.
        rows: {split: {source: its rows}}.
    """

    sources: Mapping[str, Source]
    readers: Mapping[str, Sequence[Task]]
    rows: dict[str, dict[str, Examples]] = field(default_factory=dict)

    def read(self, split: str, stage: str, inputs: Mapping[str, Inputs]) -> None:
        """Read a split of each source that has it; for "predict" that is "test" where a source has no "predict".

        Raises:
            ValueError: A source has no training split, or no source has this split (while fitting, validation may be left out).
        """
        rows = {}
        for name, tasks in self.readers.items():
            source = self.sources[name]
            held = "test" if split == "predict" and split not in source.splits else split
            if held in source.splits:
                columns = [column for task in tasks for column in task.columns if split != "predict"]
                targets = list(dict.fromkeys(columns)) if any(self.readers.values()) else None
                rows[name] = source.examples(held, inputs[name], targets, name, show=split == "predict")
            elif split == "train":
                raise ValueError(f"Source {name!r} must have a split 'train' to fit on, got {list(source.splits)}.")
        if not rows and (split, stage) != ("validation", "fit"):
            raise ValueError(
                f"No source has the split {split!r}; splits are out of {list(SPLITS)}. Add it to a source."
            )
        self.rows[split] = rows

    def inspect(
        self, splits: Sequence[str], stage: str, inputs: Mapping[str, Inputs], module: Any
    ) -> dict[str, dict[str, LabelCounts]]:
        """Read splits, check them against the tasks, and let heads learn from them.

        Args:
            splits: The splits of the stage.
            stage: "fit", "validate", "test" or "predict"; to predict, nothing is checked.
            inputs: How the rows of each source become tensors.
            module: The model, if there is one.

        Returns:
            For each split the labels of each task.

        Raises:
            ValueError: The data do not fit the tasks; the message names source, row and column, and a remedy.
        """
        trained = "train" in self.rows
        if stage != "predict":  # heads may come with a checkpoint then
            infer_heads(self.sources, self.readers)
        for split in splits:
            self.read(split, stage, inputs)
        if stage == "predict":
            return {}
        vocabulary = getattr(getattr(module, "encoder", None), "vocabulary", None)
        counts = {split: self.check(split, vocabulary) for split in splits}
        if stage == "fit" or not trained:
            warn_of_copies(self.sources, self.readers, ["validation", "test"] if stage == "fit" else splits)
        fit_heads(self.sources, self.readers, self.rows.get("train", {}), inputs)
        return counts

    @property
    def streamed(self) -> list[str]:
        """Sources whose training split is read as a stream."""
        return [name for name in self.readers if self.sources[name].stream is not None]

    @property
    def reads(self) -> dict[str, str]:
        """{task: the source that it reads}."""
        return {task.name: name for name, tasks in self.readers.items() for task in tasks}

    def check(self, split: str, vocabulary: int | None) -> dict[str, LabelCounts]:
        """Check the rows of a split, and count its labels for each task.

        Args:
            split: A split that was read.
            vocabulary: How many tokens the encoder knows. Default: it is not known.

        Raises:
            ValueError: The data do not fit the tasks; the message names source, row and column, and a remedy.
        """
        counts = {}
        self._refuse_other_rows(split)
        for name, examples in self.rows[split].items():
            where = f"source {name!r}, split {split!r}, row"
            reading = self.sources[name].readings.of(split, examples.inputs)
            refuse_bad_inputs(examples, reading, where, vocabulary)
            for task in self.readers[name]:
                self._refuse_uneven(task, name, split, where)
                counts[task.name] = found = count_labels(task, reading, where)
                if split == "train" and found.labelled == 0:
                    raise ValueError(
                        f"Task {task.name!r} must have labels to learn from: all {found.seen} rows of column {task.column!r} "
                        f"in source {name!r} are without. Drop the task, or name another `target`."
                    )
        return counts

    def _refuse_other_rows(self, split: str) -> None:
        streamed = self.streamed if split == "train" else ()
        readings = {
            (name, split): self.sources[name].readings.of(split) for name in self.rows[split] if name not in streamed
        }
        targets = {name: [of for task in tasks for of in task.columns] for name, tasks in self.readers.items()}
        refuse_other_rows(readings, targets)

    def _refuse_uneven(self, task: Task, name: str, split: str, where: str) -> None:
        source = self.sources[name]
        if task.known_head().per_position and source.words is not None:
            columns = source.readings.of(split).columns([source.words, task.columns[0]])
            refuse_uneven(columns[source.words], columns[task.columns[0]], task, where)

    def streams(
        self, split: str, *, batch_size: int, batches: Batches, ranks: Ranks, shuffle: bool, bucket: bool
    ) -> dict[str, Stream]:
        """Return the rows of each source as a stream for a sampler; see `stream_of`.

        Raises:
            RuntimeError: The split was not read.
        """
        if split not in self.rows:
            raise RuntimeError(f"The split {split!r} is not read yet. Call `setup` first, or let the Trainer do it.")
        return {
            name: stream_of(
                self.sources[name],
                name,
                split,
                examples,
                batch_size=batch_size,
                batches=batches,
                ranks=ranks,
                shuffle=shuffle,
                bucket=bucket,
            )
            for name, examples in self.rows[split].items()
        }

    def loader(
        self, split: str, sampler: MultiTaskSampler | EvaluationSampler, *, num_workers: int, pin_memory: bool
    ) -> MultiTaskLoader:
        """Return a loader of the rows that a sampler plans; the plan of a training stream holds the rows themselves."""
        examples = dict(self.rows[split])
        if split == "train":
            examples |= {
                name: self.sources[name].given(of.inputs, of.targets)
                for name, of in examples.items()
                if self.sources[name].stream is not None
            }
        tasks = {name: tasks if split != "predict" else [] for name, tasks in self.readers.items()}
        return MultiTaskLoader(examples, tasks, sampler, num_workers=num_workers, pin_memory=pin_memory)
