"""The sources while they are inspected before training: how their rows become tensors, each row read at most once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from .._distributed import world_size
from ..encoders import Tokenizer
from ..inputs import Inputs
from ..task import Task
from ._source import Source
from ._source_inputs import fitted_tokenizer, known_inputs, tokenizer_of


@contextmanager
def inspecting(
    sources: Mapping[str, Source],
    readers: Mapping[str, Sequence[Task]],
    module: Any,
    splits: Sequence[str],
    tokenizer: Tokenizer | None = None,
    not_inputs: Iterable[str] = (),
) -> Iterator[dict[str, Inputs]]:
    """Give for each source how its rows become tensors; until it is closed, no row is read twice.

    Args:
        sources: The sources.
        readers: The tasks that read each source.
        module: The model, if there is one; what it has learned of a source is kept.
        splits: The splits that are inspected.
        tokenizer: The tokenizer of the data module.
        not_inputs: Columns that are no inputs, beside the targets of the tasks.

    Raises:
        ValueError: A source does not fit the model, or cannot be learned from.
    """
    columns = {
        name: list(dict.fromkeys(of for task in tasks for of in task.columns)) for name, tasks in readers.items()
    }
    hidden = {*not_inputs}.union(*columns.values())
    known = {name: known_inputs(sources[name], name, module) for name in readers}
    tokenizer = tokenizer_of(tokenizer, module)
    inputs = {
        name: of or sources[name].draft(tokenizer, columns[name] if module is not None else None, name, hidden)
        for name, of in known.items()
    }
    keys = bool(splits) and (world_size() > 1 or any(len(sources[name].splits) > 1 for name in readers))
    with ExitStack() as stack:
        for name, made in inputs.items():
            wanted = [*splits, *(["train"] if known[name] is None and splits else ())]
            stack.enter_context(_reading_once(sources[name], name, made, wanted, columns[name], keys=keys))
        fitted_tokenizer(tokenizer, None, [sources[name] for name in readers])
        for name, made in inputs.items():
            if known[name] is None:
                sources[name].fit(made, name)
        yield inputs


def _reading_once(
    source: Source, name: str, inputs: Inputs, splits: Sequence[str], targets: Sequence[str], *, keys: bool
) -> Any:
    there = [split for split in source.splits if split in splits or source.readings.at_hand(split)]
    made = {split: source.as_collated(split, inputs) for split in there}
    return source.readings.once(name, made, targets, words=source.words is not None and bool(targets), keys=keys)
