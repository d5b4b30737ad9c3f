"""The labels of one task in a batch, in the form that its head learns from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..heads import Head
from ..inputs import WORDS, missing
from ._labels import as_numbers, at_word_starts, label_counts


@dataclass(slots=True)
class Target:
    """The target of a task.

    Args:
        task: Name of the task.
        column: The column of its labels in a batch.
        columns: The columns of the dataset that hold its labels; several make one in a batch.
        head: The head that learns from them.
        where: What a row is called in error messages.
        taken: Columns of the batch that hold the labels of other tasks.
    """

    task: str
    column: str
    columns: Sequence[str]
    head: Head
    where: str
    taken: Collection[str] = ()

    def of(self, batch: Mapping[str, Any], *, coded: bool = True) -> tuple[Tensor | None, Tensor | None]:
        """Return the labels in the head's form, None where the batch has none, and the numbers of the rows (or positions) that have one.

        These are None where all rows have one; see `Task.label`.

        Args:
            batch: The batch.
            coded: Whether labels are as a batch holds them (see `Head.code`), or real numbers as exact as they were given.
        """
        given = self._given(batch)
        if given is None:
            return None, torch.zeros(0, dtype=torch.long)
        target, rows = self._known(self._in_form(given, batch))
        if not self.head.dtype.is_floating_point:
            return target, rows
        dtype = given.dtype if isinstance(given, Tensor) and given.is_floating_point() else torch.get_default_dtype()
        if not coded and self.head.codes:
            return target, rows
        made = self.head.code(target).to(dtype)
        if made.isinf().any():
            self._refuse_overflow(made.isinf(), target, dtype)
        return made if coded else target, rows

    def _known(self, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return labels, and the numbers of the rows (or positions) that have one; None where all have."""
        head = self.head
        if target.numel() and head.complete(target):
            return target, None
        known = head.labelled(target)
        self._refuse_labels(known & ~head.valid(target), target)
        has_label = known.flatten() if head.per_position else known.reshape(len(target), -1).any(-1)
        return target, None if len(target) and has_label.all() else has_label.nonzero().squeeze(-1)

    def _given(self, batch: Mapping[str, Any]) -> Any:
        """Return the target as the batch has it; several columns are stacked."""
        if len(self.columns) == 1 or (self.column in batch and self.column not in self.taken):
            return batch.get(self.column)
        parts = [batch[name] for name in self.columns if name in batch]
        if len(parts) < len(self.columns):
            return None
        if all(isinstance(part, Tensor) for part in parts):
            return torch.stack([part.double() for part in parts], dim=-1)
        rows = zip(*(part.tolist() if isinstance(part, Tensor) else part for part in parts), strict=True)
        listed = [list(row) for row in rows]
        if not all(missing(value) or isinstance(value, int | float) for row in listed for value in row):
            raise ValueError(
                f"The columns {self.columns} of task {self.task!r} must hold numbers. Make each a task of its own."
            )
        return listed

    def _in_form(self, given: Any, batch: Mapping[str, Any]) -> Tensor:
        """Return labels as numbers, in the shape and type of the head; labels of words at the positions where words start."""
        head = self.head
        target = as_numbers(given, head, self._refuse_value)
        if not isinstance(target, Tensor):
            first = next(iter(target), None)
            raise ValueError(
                f"Column {self.column!r} of task {self.task!r} must hold numbers, got {type(first).__name__} (first: {first!r}). "
                "Read the data with `MultiTaskDataModule`, which names the classes, or code it as class numbers."
            )
        plain = head.per_position or (target.ndim == 1 and not head.label_shape)
        if target.dtype is not head.dtype or not (plain or target.shape[1:] == head.label_shape):
            target = self._converted(target)
        if head.points:  # while labels are numbers of words
            beyond = target > label_counts(given, target).unsqueeze(1)
            self._refuse_labels(head.labelled(target) & (beyond | ~head.valid(target)), target)
        if head.per_position and WORDS in batch:
            words = batch[WORDS]
            target = head.place(at_word_starts(target, words, self._refuse_value), words)
        return target

    def _converted(self, target: Tensor) -> Tensor:
        head = self.head
        if target.shape[1:] != head.label_shape and not head.per_position:
            if target[0:1].numel() != torch.Size(head.label_shape).numel():
                raise ValueError(
                    f"Column {self.column!r} of task {self.task!r} must have shape [batch{_dims(head.label_shape)}] for "
                    f"{type(head).__name__}, got [batch{_dims(tuple(target.shape[1:]))}]. Change the column or the head."
                )
            target = target.reshape(len(target), *head.label_shape)
        if target.is_floating_point() and not head.dtype.is_floating_point:
            target = target.nan_to_num(nan=-100.0)
            self._refuse_labels(target != target.trunc(), target)
        if head.dtype.is_floating_point:
            return target if target.is_floating_point() else target.double()
        return target.to(head.dtype)

    def _refuse_overflow(self, bad: Tensor, target: Tensor, dtype: torch.dtype) -> None:
        first = bad.nonzero()[0].tolist()
        raise ValueError(
            f"Task {self.task!r}: a label in column {self.column!r} must be a number that {str(dtype).removeprefix('torch.')} can hold; "
            f"{self.where} {first[0]} has {target[tuple(first)].item()}. Correct the data, or use Regression(scaled=True)."
        )

    def _refuse_labels(self, bad: Tensor, target: Tensor) -> None:
        if bad.any():
            first = bad.nonzero()[0].tolist()
            raise ValueError(
                f"Task {self.task!r}: a label in column {self.column!r} must be {self.head.label_rule}; {self.where} {first[0]} "
                f"has {target[tuple(first)].item()}. Correct the data, or give the task a head that fits."
            )

    def _refuse_value(self, row: int, value: Any) -> NoReturn:
        names = self.head.names or []
        known = (
            f"one of {names}" if len(names) <= 12 else f"one of {len(names)} names ({names[0]!r}, {names[1]!r}, ...)"
        )
        raise ValueError(
            f"Task {self.task!r}: a label in column {self.column!r} must be {known if names else self.head.label_rule}; {self.where} "
            f"{row} has {value!r}. Correct the data; or give the task a head with all names, e.g. Multiclass(3, names=['a', 'b', 'c'])."
        )


def _dims(shape: Sequence[int]) -> str:
    return "".join(f", {n}" for n in shape)
