"""Preparation of sentences whose words have labels."""

from __future__ import annotations

from collections.abc import Sequence

import datasets

from lightning_mtl import split


def split_sentences(rows: datasets.Dataset, words: str, labels: Sequence[str]) -> dict[str, datasets.Dataset]:
    """Split sentences into train, validation and test (8 : 1 : 1), equal sentences together, and number their labels.

    Args:
        rows: Sentences, with a list for each column.
        words: The column of words.
        labels: Columns of text labels. They are numbered before the split, so labels that the training split lacks are known too.

    Example:
        >>> rows = datasets.Dataset.from_list([{"words": [f"{i}"], "tags": ["X" if i % 2 else "Y"]} for i in range(40)])
        >>> split_sentences(rows, "words", ["tags"])["test"].features["tags"].feature.names
        ['X', 'Y']
    """
    for name in labels:
        values = rows[name][:]
        names = sorted({label for row in values for label in row if label is not None})
        numbers = {label: number for number, label in enumerate(names)} | {None: None}
        feature = datasets.List(datasets.ClassLabel(names=names))
        coded = [[numbers[label] for label in row] for row in values]
        rows = rows.remove_columns(name).add_column(name, coded, feature=feature)
    splits = split(rows.add_column("sentence", [" ".join(row) for row in rows[words][:]]), by="sentence")
    return {name: part.remove_columns("sentence") for name, part in splits.items()}


def spread(rows: datasets.Dataset, count: int | None) -> datasets.Dataset:
    """Select at most this number of rows, evenly from the first to the last.

    Example:
        >>> spread(datasets.Dataset.from_dict({"x": list(range(10))}), 3)["x"][:]
        [0, 3, 6]
    """
    if count is None or count >= len(rows):
        return rows
    return rows.select([place * len(rows) // count for place in range(count)])
