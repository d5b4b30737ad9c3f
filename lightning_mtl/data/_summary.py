"""What is printed before training: a table of the tasks, and what a user should know about their data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from .._table import table
from ..inputs import Inputs
from ..samplers import MultiTaskSampler
from ..task import Task, span_scheme
from ._label_counts import LabelCounts
from ._readers import is_idle
from ._splits import Splits

_HEADER = ("task", "source", "head", "train", "validation", "classes", "majority", "labelled", "draws/epoch")


def task_table(
    readers: Mapping[str, Sequence[Task]],
    counts: Mapping[str, Mapping[str, LabelCounts]],
    sampler: MultiTaskSampler,
    streams: Collection[str],
) -> str:
    """Return a table of what the data hold for each task, and how many labelled rows an epoch draws of it.

    Args:
        readers: The tasks that read each source.
        counts: For each split the labels of each task.
        sampler: What plans the steps of training.
        streams: Sources that are read as streams, of whose training split only a part was read.
    """
    draws = sampler.epoch_draws(sampler.epoch_rates())
    rows = []
    for name, tasks in readers.items():
        for task in tasks:
            of, held_out = counts["train"][task.name], counts.get("validation", {}).get(task.name)
            rows.append(
                [
                    task.name,
                    name,
                    _kind(task),
                    "stream" if name in streams else f"{of.rows:,}",
                    "-" if held_out is None else f"{held_out.rows:,}",
                    "-" if of.classes is None else str(of.classes),
                    "-" if of.majority is None else f"{of.majority:.1%}",
                    f"{of.labelled / of.seen:.1%}" + ("" if of.seen == of.rows else f" of {of.seen:,}"),
                    f"{round(draws[name] * of.labelled / of.seen):,}",
                ]
            )
    return table(_HEADER, rows)


def _kind(task: Task) -> str:
    """Return the class of a task's head, and how its tags mark spans."""
    scheme = span_scheme(task.known_head())
    return type(task.head).__name__ + (f" ({scheme})" if scheme else "")


def summary_lines(
    splits: Splits,
    tasks: Sequence[Task],
    counts: Mapping[str, Mapping[str, LabelCounts]],
    inputs: Mapping[str, Inputs],
    sampler: MultiTaskSampler,
) -> Iterator[str]:
    """Return the table, and then what a user should know about the data, a sentence at a time.

    Args:
        splits: The splits that were read.
        tasks: All tasks of the model.
        counts: For each split the labels of each task.
        inputs: How the rows of each source become tensors.
        sampler: What plans the steps of training.
    """
    yield task_table(splits.readers, counts, sampler, splits.streamed)
    for name, made in inputs.items():
        reading = splits.sources[name].readings.of("train").note()
        own = [*made.notes(), *splits.rows["train"][name].notes(), *sampler.streams[name].notes]
        for note in [*([reading] if reading else ()), *own]:
            yield f"Source {name!r}: {note}."
    if idle := [task.name for task in tasks if is_idle(task, splits.sources)]:
        yield f"No data for the frozen tasks {idle}: they stay as they are."
    if unread := [name for name in splits.sources if name not in splits.readers]:
        yield f"No task reads the sources {unread}: they are left out."
