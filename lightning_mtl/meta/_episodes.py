"""Batches as episodes: what a task is adapted to, and what it is judged by."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..adaptation import Data, Episode
from ..heads import Head
from ..modules import data_of
from ..task import ROWS, Routing, Task

if TYPE_CHECKING:
    from ._module import MetaLearningModule

PARTS = ("support", "query")
Columns = Mapping[str, Any]
Inputs = Callable[[Columns], dict[str, Any]]
"""Picks the columns that the encoder reads."""


def is_episodic(part: Any) -> bool:
    """Say whether what a batch has of a source are episodes."""
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
    """Look whether support and query have a row in common, in episodes of a user's own.

    Args:
        part: Episodes with a leading axis, or a list of single ones.
        source: Where they come from.

    Raises:
        ValueError: They have: then what is judged by was learned from.
    """
    for number, single in enumerate(part if isinstance(part, list) else _unstacked(part)):
        if not is_episodic(single):
            return  # which is refused in its place
        support, query = ({name: of for name, of in single[half].items() if isinstance(of, Tensor)} for half in PARTS)
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
    halves = {half: {name: of for name, of in part[half].items() if isinstance(of, Tensor)} for half in PARTS}
    return [{half: {name: of[i] for name, of in halves[half].items()} for half in PARTS} for i in range(count)]


def _keys(columns: Mapping[str, Tensor], names: Sequence[str]) -> list[bytes]:
    """Give what each row holds."""
    rows = len(columns[names[0]])
    return [b"".join(columns[name][row].detach().cpu().numpy().tobytes() for name in names) for row in range(rows)]


def _labelled(part: Any, tasks: Sequence[Task], source: str, leading: int) -> Any:
    if not is_episodic(part) or isinstance(part, list):
        raise ValueError(
            f"An episode of source {source!r} must be {{'support': {{column: tensor}}, 'query': ...}}, got "
            f"{type(part).__name__ if not isinstance(part, Mapping) else list(part)}. Use EpisodeDataModule."
        )
    made = dict(part)
    for name in PARTS:
        if ROWS not in part[name]:
            made[name] = _labelled_rows(
                part[name], tasks, f"in the {name} of an episode of source {source!r}, row", leading
            )
    return made


def _labelled_rows(columns: Columns, tasks: Sequence[Task], where: str, leading: int) -> dict[str, Any]:
    """Label rows that may lie in several episodes, as if they were of one."""
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
        task.label(flat, where)
        if task.name in flat[ROWS] and not task.known_head().per_position:
            known = set(flat[ROWS][task.name].tolist())
            first = next(row for row in range(len(flat[task.column])) if row not in known)
            raise ValueError(
                f"Task {task.name!r} must have a label in each row of an episode; {where} {first} has none. Leave such rows out."
            )
    shape = next(iter(columns.values())).shape[:leading]
    noted = flat.pop(ROWS)
    return {name: column.unflatten(0, shape) for name, column in flat.items()} | {ROWS: noted}


def episodes_of(task: Task, part: Any, inputs: Inputs) -> Episode | list[Episode]:
    """Give a task's episodes, with a leading axis or as a list of single ones.

    Args:
        task: The task.
        part: What a batch has of its source.
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
    """Part the labelled rows of an ordinary batch into support and query; nothing where there is only one.

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
    chosen = (place + 1) * size // len(rows) > place * size // len(rows)  # evenly, since rows may come in an order
    return _rows(task, data, rows[chosen]), _rows(task, data, rows[~chosen])


def _rows(task: Task, data: Data, rows: Tensor) -> dict[str, Any]:
    """Pick rows; of words, note which have labels."""
    count = len(data["target"])

    def picked(value: Any) -> Any:
        return value[rows] if isinstance(value, Tensor) and value.ndim and len(value) == count else value

    made = {name: picked(value) for name, value in data.items() if name != "inputs"}
    made["inputs"] = {name: picked(value) for name, value in data["inputs"].items()}
    head = task.known_head()
    if head.per_position:
        made["rows"] = _labelled_words(head, made["target"])
    return made


def episodes_of_rows(module: MetaLearningModule, task: int, columns: Any, inputs: Any) -> list[Episode]:
    """Make an episode of the labelled rows of an ordinary batch: a part of them is the support, the rest the query.

    In evaluation there are two, so that each part is judged. Where there is a single row, there is none, with a warning.
    """
    whole = module.adaptation.count(module.training) == 0
    pair = halves(module.tasks[task], columns, inputs, 1.0 if whole else module.support)
    if pair is None:
        warnings.warn(
            f"Task {module.tasks[task].name!r} had a single labelled row in a batch, which cannot be both adapted to and judged by: it is "
            "left out there. Take a larger `batch_size`.",
            stacklevel=2,
        )
        return []
    return [pair] if module.training or whole else [pair, pair[::-1]]
