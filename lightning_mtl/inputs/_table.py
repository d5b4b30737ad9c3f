"""Numeric and categorical columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch

from ._base import Columns, Input
from ._cells import Column, are_texts, as_list, counts_of, numbers_of, odd_cell, one_hot
from ._scale import scale_of
from ._values import are_dates

CATEGORIES = 100
"""The largest number of categories of a column."""
LARGEST = float(np.finfo(np.float32).max)
"""The largest number that float32 holds."""


class Table(Input):
    """Columns of a table, which become one column "features", [batch, features].

    Numbers are scaled to mean 0 and standard deviation 1 on the training split. Where a column of the training split lacks
    numbers, a missing number becomes the mean, and a second feature is 1 where it was missing; in other columns a missing number
    is an error. A column of texts (or class labels) becomes one feature for each value in the training split: 1 for the row's own
    value, 0 for the others; for an unknown or missing value all of them are 0.

    A few huge values in a column of numbers (at most 1 in 100, each more than 100 times as far from the median as all others)
    would leave no difference between the others. They are told, left out of mean and deviation, and clipped to the extremes of the
    others, here and wherever the model reads such a column.

    Args:
        columns: The names of the columns.
        categorical: Those of them whose numbers are categories, no quantities.
        learned: What `fit` learned: for each column {"mean", "scale", "gaps"}, where values are clipped
            with "low" and "high", or {"values"}.

    Example:
        >>> table = Table(["age", "sex"])
        >>> table.fit({"age": [20, 40, None], "sex": ["f", "m", "f"]})
        >>> table.names()
        ['age', 'age missing', 'sex=f', 'sex=m']
        >>> table.collate(table.prepare({"age": [50, None], "sex": ["f", "x"]}, range(2)))["features"]
        tensor([[2., 0., 1., 0.],
                [0., 1., 0., 0.]])
    """

    once = True
    reads_arrow = True

    def __init__(
        self,
        columns: list[str],
        categorical: list[str] | None = None,
        learned: list[dict[str, Any]] | None = None,
    ) -> None:
        self.columns = columns
        self.categorical = categorical or []
        self.learned = learned

    def fit(self, columns: Columns) -> None:
        """Learn means, standard deviations and categories."""
        self.learned = [_learn(name, columns[name], name in self.categorical) for name in self.columns]

    def names(self) -> list[str]:
        """Return the names of the features."""
        assert self.learned is not None
        made = []
        for column, facts in zip(self.columns, self.learned, strict=True):
            numeric = [column, f"{column} missing"][: 1 + bool(facts.get("gaps"))]
            made += [f"{column}={value}" for value in facts["values"]] if "values" in facts else numeric
        return made

    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, Any]:
        """Scale numbers, and turn categories into features of 0 and 1."""
        assert self.learned is not None, "`fit` comes before `prepare`"
        parts = [
            one_hot(columns[name], facts["values"]) if "values" in facts else _scaled(name, columns[name], facts, rows)
            for name, facts in zip(self.columns, self.learned, strict=True)
        ]
        return {"features": np.concatenate(parts, axis=1)}

    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Stack the rows."""
        return {
            "features": torch.from_numpy(np.asarray(prepared["features"], dtype=float)).to(torch.get_default_dtype())
        }

    def example(self) -> dict[str, list[Any]]:
        """Return two rows of means and first categories."""
        assert self.learned is not None
        return {
            name: [facts["values"][0] if "values" in facts else facts["mean"]] * 2
            for name, facts in zip(self.columns, self.learned, strict=True)
        }

    def sizes(self) -> dict[str, int]:
        """Return the number of features."""
        return {"features": len(self.names())} if self.learned is not None else {}

    def note(self) -> str:
        """Return which columns have missing values that are filled, and which have huge values that are clipped."""
        known = dict(zip(self.columns, self.learned or [], strict=True))
        gaps = [f"{name} ({facts['gaps']:.1%})" for name, facts in known.items() if facts.get("gaps")]
        filled = f"missing values are filled with the mean, and flagged, in {', '.join(gaps)}" if gaps else ""
        huge = [_clipped(name, facts) for name, facts in known.items() if facts.get("huge")]
        return "; ".join([*([filled] if filled else ()), *huge])


def _clipped(column: str, facts: dict[str, Any]) -> str:
    return (
        f"{facts['huge']} of the values of {column} are huge (one is {facts['largest']:g}); they are clipped to "
        f"[{facts['low']:g}, {facts['high']:g}], the range of the others"
    )


def _learn(column: str, cells: Column, categorical: bool) -> dict[str, Any]:
    if categorical or are_texts(cells):
        return {"values": _categories(column, cells, numbers=categorical)}
    numbers = numbers_of(column, cells, range(len(cells)))
    there = numbers[~np.isnan(numbers)]
    if not len(there):
        _refuse_nothing(column)
    return {**scale_of(there), "gaps": 1 - len(there) / len(numbers)}


def _refuse_nothing(column: str) -> NoReturn:
    raise ValueError(f"Column {column!r} must hold values to learn from, got none. Leave it out of `features`.")


def _categories(column: str, cells: Column, *, numbers: bool) -> list[Any]:
    if odd := odd_cell(cells):
        raise ValueError(
            f"Column {column!r} must hold texts or numbers, not both; row {odd[0]} has {odd[1]!r}. Convert or drop that row."
        )
    counts = counts_of(cells)
    if not counts:
        _refuse_nothing(column)
    texts = {value: count for value, count in counts.items() if isinstance(value, str)}
    if texts and are_dates(list(texts)):
        raise ValueError(
            f"Column {column!r} of `features` must hold numbers or categories, got dates ({next(iter(texts))!r}). Make numbers of them "
            "first, e.g. days since a date, or leave it out."
        )
    if not numbers and sum(count for text, count in texts.items() if _is_number(text)) > 0.5 * sum(texts.values()):
        value = next((text for text in texts if not _is_number(text)), next(iter(texts)))
        raise ValueError(
            f"Column {column!r} of `features` must hold numbers or categories, got numbers written as texts; row "
            f"{as_list(cells).index(value)} has {value!r}. Convert the column, with None where there is no number."
        )
    if len(counts) > CATEGORIES or (len(counts) > 20 and len(counts) > len(cells) / 2):
        raise ValueError(
            f"Column {column!r} of `features` must hold at most {CATEGORIES} categories, got {len(counts)} in {len(cells)} rows "
            f"(first: {as_list(cells[:1])[0]!r}). Name it in `text` if it is text; leave it out if it is an identifier."
        )
    return sorted(counts)


def _scaled(column: str, cells: Column, facts: dict[str, Any], rows: Sequence[int]) -> np.ndarray:
    numbers: np.ndarray = numbers_of(column, cells, rows)
    if "low" in facts:
        numbers = np.minimum(np.maximum(numbers, facts["low"]), facts["high"])
    with np.errstate(over="ignore"):
        numbers = (numbers - facts["mean"]) / facts["scale"]
    beyond = np.abs(numbers) > LARGEST
    if beyond.any():
        first = int(beyond.argmax())
        raise ValueError(
            f"Column {column!r} must hold numbers that float32 can hold when they are scaled, got {as_list(cells[first : first + 1])[0]!r} "
            f"in row {rows[first]}, beside a mean of {facts['mean']:g}. Correct it or drop the row."
        )
    gaps = np.isnan(numbers)
    if not facts["gaps"]:
        if gaps.any():
            raise ValueError(
                f"Column {column!r} must hold numbers, got none in row {rows[int(gaps.argmax())]}; the training split has no "
                "row without one to learn from. Fill it or drop the row."
            )
        return numbers[:, None]
    return np.stack([np.where(gaps, 0.0, numbers), gaps.astype(float)], axis=1)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not (text.isdecimal() and text.startswith("0") and len(text) > 1)  # a code, e.g. of a place
