"""Numeric and categorical columns of a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import torch

from ._base import Columns, Input
from ._values import are_dates, missing

CATEGORIES = 100
"""The largest number of categories of a column."""


class Table(Input):
    """Columns of a table, which become one column "features", [batch, features].

    Numbers are scaled to mean 0 and standard deviation 1 on the training split. Where a column of the training split lacks
    numbers, a missing number becomes the mean, and a second feature is 1 where it was missing; in other columns a missing number
    is an error. A column of texts (or class labels) becomes one feature for each value in the training split: 1 for the row's own
    value, 0 for the others; for an unknown or missing value all of them are 0.

    Args:
        columns: The names of the columns.
        categorical: Those of them whose numbers are categories, no quantities.
        learned: What `fit` learned: for each column {"mean", "scale", "gaps"} or {"values"}.

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

    def prepare(self, columns: Columns, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Scale numbers, and turn categories into features of 0 and 1."""
        assert self.learned is not None, "`fit` comes before `prepare`"
        parts = [
            _one_hot(columns[name], facts["values"]) if "values" in facts else _scaled(name, columns[name], facts, rows)
            for name, facts in zip(self.columns, self.learned, strict=True)
        ]
        return {"features": np.concatenate(parts, axis=1).tolist()}

    def collate(self, prepared: Columns) -> dict[str, Any]:
        """Stack the rows."""
        return {"features": torch.tensor(prepared["features"], dtype=torch.get_default_dtype())}

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
        """Return which columns have missing values that are filled."""
        gaps = [
            f"{name} ({facts['gaps']:.1%})"
            for name, facts in zip(self.columns, self.learned or [], strict=True)
            if facts.get("gaps")
        ]
        return f"missing values are filled with the mean, and flagged, in {', '.join(gaps)}" if gaps else ""


def _learn(column: str, values: list[Any], categorical: bool) -> dict[str, Any]:
    known = [value for value in values if not missing(value)]
    if not known:
        raise ValueError(f"Column {column!r} must hold values to learn from, got none. Leave it out of `features`.")
    if categorical or isinstance(known[0], str):
        return {"values": _categories(column, values)}
    numbers = _numbers(column, values, range(len(values)))
    there = numbers[~np.isnan(numbers)]
    gaps = 1 - len(there) / len(numbers)
    scale = (
        float(there.std()) if there.min() < there.max() else 1.0
    )  # rounding errors would give a constant a small one
    return {"mean": float(there.mean()), "scale": scale, "gaps": gaps}


def _categories(column: str, values: list[Any]) -> list[Any]:
    texts = [value for value in values if isinstance(value, str) and value]
    odd = next((i for i, v in enumerate(values) if not missing(v) and isinstance(v, str) is not bool(texts)), None)
    if odd is not None:
        raise ValueError(
            f"Column {column!r} must hold texts or numbers, not both; row {odd} has {values[odd]!r}. Convert or drop that row."
        )
    if texts and are_dates(texts):
        raise ValueError(
            f"Column {column!r} of `features` must hold numbers or categories, got dates ({texts[0]!r}). Make numbers of them "
            "first, e.g. days since a date, or leave it out."
        )
    if texts and sum(map(_is_number, texts)) > 0.5 * len(texts):
        row, value = next(
            ((i, v) for i, v in enumerate(values) if isinstance(v, str) and v and not _is_number(v)), (0, texts[0])
        )
        raise ValueError(
            f"Column {column!r} of `features` must hold numbers or categories, got numbers written as texts; row {row} has "
            f"{value!r}. Convert the column, with None where there is no number."
        )
    counts = Counter(value for value in values if not missing(value))
    if len(counts) > CATEGORIES or (len(counts) > 20 and len(counts) > len(values) / 2):
        raise ValueError(
            f"Column {column!r} of `features` must hold at most {CATEGORIES} categories, got {len(counts)} in {len(values)} rows "
            f"(first: {values[0]!r}). Name it in `text` if it is text; leave it out if it is an identifier."
        )
    return sorted(counts)


def _scaled(column: str, values: list[Any], facts: dict[str, Any], rows: Sequence[int]) -> np.ndarray:
    numbers: np.ndarray = (_numbers(column, values, rows) - facts["mean"]) / facts["scale"]
    gaps = np.isnan(numbers)
    if not facts["gaps"]:
        if gaps.any():
            raise ValueError(
                f"Column {column!r} must hold numbers, got none in row {rows[int(gaps.argmax())]}; the training split has no "
                "row without one to learn from. Fill it or drop the row."
            )
        return numbers[:, None]
    return np.stack([np.where(gaps, 0.0, numbers), gaps.astype(float)], axis=1)


def _numbers(column: str, values: list[Any], rows: Sequence[int]) -> np.ndarray:
    made = np.empty(len(values))
    for i, value in enumerate(values):
        if missing(value):
            made[i] = math.nan
            continue
        if not isinstance(value, bool | int | float | np.number) or math.isinf(value):
            found = (
                "a date" if isinstance(value, date) else "a text" if isinstance(value, str) else type(value).__name__
            )
            raise ValueError(
                f"Column {column!r} must hold finite numbers, got {found} in row {rows[i]}: {value!r}. Convert it (of a date, "
                "e.g. days since a first one), or drop the row."
            )
        made[i] = value
    return made


def _one_hot(values: list[Any], categories: list[Any]) -> np.ndarray:
    places = {value: i for i, value in enumerate(categories)}
    made = np.zeros((len(values), len(categories)))
    for row, value in enumerate(values):
        place = None if missing(value) else places.get(value)
        if place is not None:
            made[row, place] = 1.0
    return made


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
