"""Rows of a held-out split that are in a training split too."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from ..task import Task
from ._source import Source

_RECUR = 0.5
"""Share of different inputs in a training split below which inputs recur by nature, e.g. of a few categories."""


def warn_of_copies(
    sources: Mapping[str, Source], readers: Mapping[str, Sequence[Task]], splits: Sequence[str], train: str = "train"
) -> None:
    """Warn where rows of splits have the same inputs as rows of the training split, of their own source or of another one.

    Args:
        sources: The sources.
        readers: The tasks that read each source; sources without a task are left out.
        splits: The splits that are held out.
        train: The split that is trained on.
    """
    held = {(name, split) for name in readers for split in splits if sources[name].readings.at_hand(split)}
    names = [name for name, tasks in readers.items() if tasks and sources[name].readings.at_hand(train)]
    if not held or not names:
        return
    trained = {name: np.unique(sources[name].readings.of(train).keys()) for name in names}
    everything = np.unique(np.concatenate([*trained.values()]))
    for name, split in sorted(held):
        keys = sources[name].readings.of(split).keys()
        if np.isin(keys, everything).any():
            for other, known in trained.items():
                if other == name or len(known) > _RECUR * sources[other].readings.of(train).total:
                    _warn(name, split, other, int(np.isin(keys, known).sum()), len(keys))


def _warn(name: str, split: str, other: str, copies: int, rows: int) -> None:
    if not copies:
        return
    of = "'train'" if other == name else f"'train' of source {other!r}"
    remedy = (
        "Split by content, or drop the copies"
        if other == name
        else "Put these rows into one table and split it, split(rows, by=...) with the column that tells them, or drop the copies"
    )
    warnings.warn(
        f"Source {name!r}: {copies} of {rows} rows of split {split!r} have the same inputs as rows of {of}. "
        f"{remedy}, for scores that mean something.",
        stacklevel=2,
    )
