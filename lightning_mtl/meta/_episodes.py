"""Batches as episodes: the support that a task is adapted to, and the query that it is evaluated on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..adaptation import Data, Episode
from ..heads import Head
from ..modules import data_of
from ..task import ROWS, Routing, Task, label_tasks

if TYPE_CHECKING:
    from ._module import MetaLearningModule

PARTS = ("support", "query")
Columns = Mapping[str, Any]
Inputs = Callable[[Columns], dict[str, Any]]
"""Picks the columns that the encoder reads."""


def is_episodic(part: Any) -> bool:
    """Return whether a batch's part from a source holds episodes."""
    return isinstance(part, list) or (isinstance(part, Mapping) and set(PARTS) <= part.keys())


def has_episodes(batch: Any) -> bool:
    """Return whether a batch holds episodes of any source."""
    return isinstance(batch, Mapping) and any(is_episodic(part) for part in batch.values())


def label_episodes(
    batch: Mapping[str, Any], tasks: Sequence[Task], routing: Routing, checked: set[str]
) -> dict[str, Any]:
    """Label the episodes of a batch, and its ordinary sources.

    Args:
        batch: The batch.
        tasks: All tasks.
        routing: Which task reads which source.
        checked: Sources whose episodes were checked; more are added.
    """
    routing.bind_batch(batch)
    labelled = dict(batch)
    for source, part in batch.items():
        if is_episodic(part):
            labelled[source] = labelled_episodes(part, [tasks[i] for i in routing.readers(source)], source)
            if source not in checked and "drawn" not in (part[0] if isinstance(part, list) else part):
                refuse_overlap(part, source)  # once, since it takes time
            checked.add(source)
        elif part is not None:
            labelled |= routing.label({source: part})
    return labelled


def labelled_episodes(part: Any, tasks: Sequence[Task], source: str) -> Any:
    """Bring the labels of episodes into their heads' form.

    Args:
        part: Episodes with a leading axis, or a list of single ones.
        tasks: Those that read them.
        source: Where they come from.

    Raises:
        ValueError: They are no episodes, or a row has no label.
    """
    if isinstance(part, list):
        if not part:
            raise ValueError(
                f"A batch must hold episodes of source {source!r}, got an empty list. Leave the source out."
            )
        return [_labelled(single, tasks, source, leading=1) for single in part]
    return _labelled(part, tasks, source, leading=2)


def refuse_overlap(part: Any, source: str) -> None:
    """Check that support and query have no row in common, in episodes that `EpisodeDataModule` did not draw.

    Args:
        part: Episodes with a leading axis, or a list of single ones.
        source: Where they come from.

    Raises:
        ValueError: They have one: then the query is not new to the adapted task.
    """
    for number, single in enumerate(part if isinstance(part, list) else _unstacked(part)):
        if not is_episodic(single):
            return  # rejected when it is labelled
        support, query = (_tensors(single[half]) for half in PARTS)
        names = [name for name in support if name in query]
        if not any(support[name].is_floating_point() for name in names):
            return  # rows of few values may be equal without being one
        known = {key: row for row, key in enumerate(_keys(support, names))}
        both = [(known[key], row) for row, key in enumerate(_keys(query, names)) if key in known]
        if both:
            first, second = both[0]
            raise ValueError(
                f"Episodes of source {source!r} must have no row in common in support and query, got row {first} of the support of episode "
                f"{number} as row {second} of its query. Draw them apart, or take EpisodeDataModule, which does."
            )


def _unstacked(part: Any) -> list[Any]:
    count = len(next(column for column in part["support"].values() if isinstance(column, Tensor)))
    halves = {half: _tensors(part[half]) for half in PARTS}
    return [{half: {name: column[i] for name, column in halves[half].items()} for half in PARTS} for i in range(count)]


def _tensors(columns: Columns) -> dict[str, Tensor]:
    return {name: column for name, column in columns.items() if isinstance(column, Tensor)}


def _keys(columns: Mapping[str, Tensor], names: Sequence[str]) -> list[bytes]:
    """Return the bytes of each row, to compare rows by."""
    rows = len(columns[names[0]])
    return [b"".join(columns[name][row].detach().cpu().numpy().tobytes() for name in names) for row in range(rows)]


def _labelled(part: Any, tasks: Sequence[Task], source: str, leading: int) -> Any:
    if not is_episodic(part) or isinstance(part, list):
        raise ValueError(
            f"An episode of source {source!r} must be {{'support': {{column: tensor}}, 'query': ...}}, got "
            f"{type(part).__name__ if not isinstance(part, Mapping) else list(part)}. Use EpisodeDataModule."
        )
    labelled = dict(part)
    for name in PARTS:
        if ROWS not in part[name]:
            labelled[name] = _labelled_rows(
                part[name], tasks, f"in the {name} of an episode of source {source!r}, row", leading
            )
    return labelled


def _labelled_rows(columns: Columns, tasks: Sequence[Task], where: str, leading: int) -> dict[str, Any]:
    """Label the rows of one or several episodes together."""
    place = where.removesuffix(", row")
    for name, column in columns.items():
        if not isinstance(column, Tensor) or column.ndim < leading or 0 in column.shape[:leading]:
            shown = list(column.shape) if isinstance(column, Tensor) else type(column).__name__
            wanted = "episodes and rows" if leading == 2 else "rows"
            raise ValueError(f"Column {name!r} must be a tensor with {wanted} {place}, got {shown}.")
    flat = {name: column.flatten(0, leading - 1) for name, column in columns.items()}
    flat[ROWS] = {}
    for task in tasks:
        if task.column not in columns:
            raise ValueError(
                f"Column {task.column!r} of task {task.name!r} must be there {place}, got {list(columns)}."
            )
    label_tasks(tasks, flat, where)
    for task in tasks:
        if task.name in flat[ROWS] and not task.known_head().per_position:
            known = set(flat[ROWS][task.name].tolist())
            first = next(row for row in range(len(task.labels_in(flat))) if row not in known)
            raise ValueError(
                f"Task {task.name!r} must have a label in each row of an episode; {where} {first} has none. Leave such rows out."
            )
    shape = next(iter(columns.values())).shape[:leading]
    noted = flat.pop(ROWS)
    return {name: column.unflatten(0, shape) for name, column in flat.items()} | {ROWS: noted}


def episodes_of(task: Task, part: Any, inputs: Inputs) -> Episode | list[Episode]:
    """Return a task's episodes, with a leading axis or as a list of single ones.

    Args:
        task: The task.
        part: The part of a batch from its source.
        inputs: Picks what the encoder reads.
    """
    if isinstance(part, list):
        return [_pair(task, single, inputs) for single in part]
    if task.known_head().per_position:  # which words have labels differs between episodes
        return [_pair(task, single, inputs) for single in _unstacked(part)]
    return _pair(task, part, inputs)


def _pair(task: Task, part: Any, inputs: Inputs) -> Episode:
    return _half(task, part["support"], inputs), _half(task, part["query"], inputs)


def _half(task: Task, columns: Columns, inputs: Inputs) -> dict[str, Any]:
    data = data_of(task, columns, inputs)
    head = task.known_head()
    return {**data, "rows": _labelled_words(head, data["target"])} if head.per_position else data


def _labelled_words(head: Head, target: Tensor) -> Tensor:
    return head.labelled(target).flatten().nonzero().squeeze(-1)


def halves(task: Task, columns: Columns, inputs: Inputs, share: float) -> Episode | None:
    """Split the labelled rows of an ordinary batch into support and query; None where there is only one row.

    Args:
        task: The task.
        columns: The batch.
        inputs: Picks what the encoder reads.
        share: Share of the rows that is the support, or 1 for all rows in both.
    """
    data = data_of(task, columns, inputs)
    rows = columns[ROWS].get(task.name)
    per_position = task.known_head().per_position
    if rows is None:
        rows = torch.arange(len(data["target"]), device=data["target"].device)
    elif per_position:
        rows = torch.unique(rows // data["target"].shape[1])
    if share == 1:
        whole = _rows(task, data, rows)
        return whole, whole
    if len(rows) < 2:
        return None
    size = min(max(round(len(rows) * share), 1), len(rows) - 1)
    place = torch.arange(len(rows), device=rows.device)
    chosen = (place + 1) * size // len(rows) > place * size // len(rows)  # evenly, since rows may be sorted
    return _rows(task, data, rows[chosen]), _rows(task, data, rows[~chosen])


def _rows(task: Task, data: Data, rows: Tensor) -> dict[str, Any]:
    """Return these rows; for words, also which of them have labels."""
    count = len(data["target"])

    def picked(value: Any) -> Any:
        return value[rows] if isinstance(value, Tensor) and value.ndim and len(value) == count else value

    selected = {name: picked(value) for name, value in data.items() if name != "inputs"}
    selected["inputs"] = {name: picked(value) for name, value in data["inputs"].items()}
    head = task.known_head()
    if head.per_position:
        selected["rows"] = _labelled_words(head, selected["target"])
    return selected


def episodes_of_rows(module: MetaLearningModule, task: int, columns: Any, inputs: Any) -> list[Episode]:
    """Return an episode of the labelled rows of an ordinary batch: a part of them is the support, the rest the query.

    In evaluation there are two episodes, so that each part is the query once. For a single row there is none, with a warning.
    """
    whole = module.adaptation.count(module.training) == 0
    pair = halves(module.tasks[task], columns, inputs, 1.0 if whole else module.support)
    if pair is None:
        warnings.warn(
            f"Task {module.tasks[task].name!r} had a single labelled row in a batch, which cannot be both support and query: it is "
            "left out there. Take a larger `batch_size`.",
            stacklevel=2,
        )
        return []
    return [pair] if module.training or whole else [pair, pair[::-1]]
